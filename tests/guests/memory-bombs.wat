;; Grows two memories in turn: each stays under a limit that counts one, their sum does not.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (loop $more
    (drop (memory.grow $second (i32.const 16)))
    (br_if $more (i32.ne (memory.grow $memory (i32.const 16)) (i32.const -1))))
  (unreachable))
(memory $second 1)
