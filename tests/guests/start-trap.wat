;; Traps in its start function, before it is called.
(func $start (unreachable))
(start $start)
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $ack))
