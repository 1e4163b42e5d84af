;; Never ends its start function.
(func $start (loop $forever (br $forever)))
(start $start)
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $ack))
