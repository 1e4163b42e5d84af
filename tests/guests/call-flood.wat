;; Asks the host 10,000 times.
(import "hookyard:plugin/config@0.1.0" "get" (func $get (param i32 i32 i32)))
(data (memory $memory) (i32.const 0) "key")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (local $i i32)
  (loop $more
    (call $get (i32.const 0) (i32.const 3) (i32.const 256))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (i32.const 10000))))
  (call $ack))
