;; Skips, with the name of the event for a reason.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $skip (i32.load $memory offset=32 (local.get $delivery)) (i32.load $memory offset=36 (local.get $delivery))))
