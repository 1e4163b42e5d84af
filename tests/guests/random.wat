;; Skips with a random number.
(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32) (call $skip_number (call $random)))
