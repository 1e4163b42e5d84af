;; Logs 300 lines, more than are kept.
(import "hookyard:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
(data (memory $memory) (i32.const 0) "line")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (local $i i32)
  (loop $more
    (call $write (i32.const 2) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (i32.const 300))))
  (call $ack))
