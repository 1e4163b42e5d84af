;; Answers with a reason of 32 MiB that it really has: more than may cross the boundary with a small document.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $skip (i32.mul (memory.grow $memory (i32.const 512)) (i32.const 65536)) (i32.const 33554432)))
