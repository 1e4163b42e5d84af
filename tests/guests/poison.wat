;; Traps on a document whose third byte is `p`, as in {"poison":1}; handles every other.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (if (i32.eq (i32.load8_u $memory offset=2 (i32.load $memory offset=104 (local.get $delivery))) (i32.const 112)) (then (unreachable)))
  (call $ack))
