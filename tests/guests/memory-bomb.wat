;; Grows its memory until it is refused, then aborts as a Rust guest would.
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (loop $more
    (br_if $more (i32.ne (memory.grow $memory (i32.const 16)) (i32.const -1))))
  (unreachable))
