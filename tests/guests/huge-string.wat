;; Answers with a reason of 1 GB, most of it beyond its memory.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $skip (i32.const 0) (i32.const 1000000000)))
