;; Gives every delivery up.
(data (memory $memory) (i32.const 0) "hopeless")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $reject (i32.const 0) (i32.const 8)))
