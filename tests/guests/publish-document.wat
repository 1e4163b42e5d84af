;; Emits the document it was given, as it is, and acks: so that a test sees what a plugin sees.
(import "hookyard:plugin/emit@0.1.0" "publish" (func $publish (param i32 i32 i32 i32 i32 i32 i32)))
(data (memory $memory) (i32.const 0) "documentapplication/json")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $publish (i32.const 0) (i32.const 8) (i32.const 8) (i32.const 16)
    (i32.load $memory offset=104 (local.get $delivery)) (i32.load $memory offset=108 (local.get $delivery)) (i32.const 256))
  (call $ack))
