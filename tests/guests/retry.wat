;; Asks for another try after 1500 ms.
(data (memory $memory) (i32.const 0) "later")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (i32.store $memory (i32.const 512) (i32.const 2))
  (i32.store $memory (i32.const 520) (i32.const 1))
  (i64.store $memory (i32.const 528) (i64.const 1500))
  (i32.store $memory (i32.const 536) (i32.const 0))
  (i32.store $memory (i32.const 540) (i32.const 5))
  (i32.const 512))
