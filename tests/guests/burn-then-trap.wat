;; Burns fuel, then traps, to look free to who forgets what a trap costs.
(func $burn (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (local $i i32)
  (loop $burn
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $burn (i32.lt_u (local.get $i) (i32.const 10000))))
  (unreachable))
