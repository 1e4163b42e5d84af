;; Answers with a verdict that does not exist.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $verdict (i32.const 77) (i32.const 0) (i32.const 0)))
