;; Fills twelve megabytes again and again with single instructions, between which nothing can be interrupted.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (drop (memory.grow $memory (i32.const 190)))
  (loop $again
    (memory.fill $memory (i32.const 65536) (i32.const 1) (i32.const 12000000))
    (br $again))
  (unreachable))
