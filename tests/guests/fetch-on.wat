;; Asks for the configured `url` with the credential `github` again and again for as long as it is answered; rejects with the reason why not.
(import "hookyard:plugin/config@0.1.0" "get" (func $get (param i32 i32 i32)))
(import "hookyard:plugin/http@0.1.0" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (memory $memory) (i32.const 0) "url")
(data (memory $memory) (i32.const 16) "GET")
(data (memory $memory) (i32.const 32) "github")
(func (export "hookyard:plugin/handler@0.1.0#handle") (param $delivery i32) (result i32)
  (call $get (i32.const 0) (i32.const 3) (i32.const 256))
  (if (i32.eqz (i32.load8_u $memory (i32.const 256))) (then (return (call $reject (i32.const 0) (i32.const 3)))))
  (loop $again
    (call $send
      (i32.const 16) (i32.const 3)
      (i32.load $memory (i32.const 260)) (i32.load $memory (i32.const 264))
      (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1) (i32.const 32) (i32.const 6)
      (i32.const 0) (i32.const 0)
      (i32.const 300))
    (if (i32.load8_u $memory (i32.const 300))
      (then
        ;; 1 is `timeout` and 2 `too-large`: they carry no text.
        (if (i32.and (i32.ge_u (i32.load8_u $memory (i32.const 304)) (i32.const 1)) (i32.le_u (i32.load8_u $memory (i32.const 304)) (i32.const 2)))
          (then (return (call $reject (i32.const 16) (i32.const 0)))))
        (return (call $reject (i32.load $memory (i32.const 308)) (i32.load $memory (i32.const 312))))))
    (br $again))
  (unreachable))
