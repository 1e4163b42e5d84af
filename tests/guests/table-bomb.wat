;; Grows a table until it is refused, then aborts.
(table $table 1 funcref)
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (loop $more
    (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 10000)) (i32.const -1))))
  (unreachable))
