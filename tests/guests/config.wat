;; Skips, with the configured `labels.small` for a reason.
(import "hookyard:plugin/config@0.1.0" "get" (func $get (param i32 i32 i32)))
(data (memory $memory) (i32.const 0) "labels.small")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $get (i32.const 0) (i32.const 12) (i32.const 256))
  (if (i32.eqz (i32.load8_u $memory (i32.const 256))) (then (return (call $reject (i32.const 0) (i32.const 12)))))
  (call $skip (i32.load $memory (i32.const 260)) (i32.load $memory (i32.const 264))))
