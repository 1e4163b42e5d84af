;; Emits one event and rejects: nothing may leave.
(import "hookyard:plugin/emit@0.1.0" "publish" (func $publish (param i32 i32 i32 i32 i32 i32 i32)))
(data (memory $memory) (i32.const 0) "labelledtext/plainbody")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $publish (i32.const 0) (i32.const 8) (i32.const 8) (i32.const 10) (i32.const 18) (i32.const 4) (i32.const 256))
  (call $reject (i32.const 18) (i32.const 4)))
