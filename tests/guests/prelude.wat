;; What every guest is made of: its own text, then a memory, an allocator and the verdicts. See README.md.
(module
  {{guest}}

  ;; 0..512 is the guest's, 512..1024 the prelude's, the heap begins at 4096.
  (memory $memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 4096))

  ;; Never frees: a run is short and its memory is dropped whole.
  (func $allocate (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size $memory) (i32.const 65536))))
        (if (i32.eq (memory.grow $memory (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))

  ;; A verdict: the case at +0, its payload at +8.
  (func $verdict (param $case i32) (param $text i32) (param $bytes i32) (result i32)
    (i32.store $memory (i32.const 512) (local.get $case))
    (i32.store $memory (i32.const 520) (local.get $text))
    (i32.store $memory (i32.const 524) (local.get $bytes))
    (i32.const 512))
  (func $ack (result i32) (call $verdict (i32.const 0) (i32.const 0) (i32.const 0)))
  (func $skip (param $text i32) (param $bytes i32) (result i32) (call $verdict (i32.const 1) (local.get $text) (local.get $bytes)))
  (func $reject (param $text i32) (param $bytes i32) (result i32) (call $verdict (i32.const 3) (local.get $text) (local.get $bytes)))

  ;; Skips with a number as sixteen hexadecimal digits, so that a test can read it.
  (func $skip_number (param $number i64) (result i32)
    (local $i i32) (local $digit i32)
    (loop $next
      (local.set $digit (i32.wrap_i64 (i64.and (local.get $number) (i64.const 15))))
      (i32.store8 $memory offset=600 (i32.sub (i32.const 15) (local.get $i))
        (select (i32.add (local.get $digit) (i32.const 48)) (i32.add (local.get $digit) (i32.const 87)) (i32.lt_u (local.get $digit) (i32.const 10))))
      (local.set $number (i64.shr_u (local.get $number) (i64.const 4)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 16))))
    (call $skip (i32.const 600) (i32.const 16)))
)
