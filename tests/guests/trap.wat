;; Traps at once, as a guest that panics does.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (unreachable))
