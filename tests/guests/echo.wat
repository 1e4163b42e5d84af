;; Skips, with the document for a reason.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $skip (i32.load $memory offset=104 (local.get $delivery)) (i32.load $memory offset=108 (local.get $delivery))))
