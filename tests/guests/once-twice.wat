;; Begins a step twice and skips with the second answer's case: unknown is 2.
(import "hookyard:plugin/once@0.1.0" "begin" (func $begin (param i32 i32 i32)))
(data (memory $memory) (i32.const 0) "step")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $begin (i32.const 0) (i32.const 4) (i32.const 256))
  (call $begin (i32.const 0) (i32.const 4) (i32.const 256))
  (call $skip_number (i64.load8_u $memory (i32.const 260))))
