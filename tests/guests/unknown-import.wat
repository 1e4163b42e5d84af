;; Wants what no host knows.
(import "acme:tools/stranger@1.0.0" "whisper" (func $whisper))
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $whisper) (call $ack))
