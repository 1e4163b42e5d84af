;; Answers with a reason that is no UTF-8.
(data (memory $memory) (i32.const 0) "\ff\fe\fd")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $skip (i32.const 0) (i32.const 3)))
