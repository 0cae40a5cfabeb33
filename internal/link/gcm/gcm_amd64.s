//go:build !purego

#include "textflag.h"

// Offsets in schedule.
#define ROUNDS 240
#define POWERS 256
#define END    (POWERS + 96*16)
#define ONE    (END - 16)
#define HALVES (96+4)*16 // from a power to the sum of its halves
#define LENGTHS (POWERS + 2*HALVES)

// At most this many bytes are hashed with one reduction: with the header before them and the lengths behind they are 96
// blocks. Of more, PART bytes go first.
#define MOST 1504
#define PART 1280

// Registers throughout:
//   Z16..Z25 round keys 0 to 9, Z29 the last one; Z12 those of rounds 10 to 13 in their turn (AES-256 only)
//   Z26 Z27 Z28 Z30 what was sealed last, byte-reversed, to be hashed
//   Z4  four counters, byte-reversed so that they add up in their low words; Z5 what to add
//   Z6  byte reversal within blocks; Z13 the reduction polynomial; X31 the mask of the tag
//   X12 GHASH so far, byte-reversed, between two parts; Z7 Z8 Z9 low, middle and high of the products since then
//   DX  the power of the hash key that the next block meets

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

// x^128 = x^7 + x^2 + x + 1, reflected, for folding 64 bits at a time.
DATA polynomial<>+0(SB)/8, $1
DATA polynomial<>+8(SB)/8, $0xc200000000000000
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

DATA lanes<>+0(SB)/8, $0
DATA lanes<>+8(SB)/8, $0
DATA lanes<>+16(SB)/8, $1
DATA lanes<>+24(SB)/8, $0
DATA lanes<>+32(SB)/8, $2
DATA lanes<>+40(SB)/8, $0
DATA lanes<>+48(SB)/8, $3
DATA lanes<>+56(SB)/8, $0
GLOBL lanes<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// REDUCE folds LO + MI·x^64 + HI·x^128 into HI, in every lane. It uses T.
#define REDUCE(P, LO, MI, HI, T) \
	VPCLMULQDQ $0x01, LO, P, T   \
	VPSHUFD    $0x4e, LO, LO     \
	VPTERNLOGD $0x96, T, LO, MI  \
	VPCLMULQDQ $0x01, MI, P, T   \
	VPSHUFD    $0x4e, MI, MI     \
	VPTERNLOGD $0x96, T, MI, HI

// PRODUCT multiplies X by H into LO, MI and HI. It uses T.
#define PRODUCT(X, H, LO, MI, HI, T) \
	VPCLMULQDQ $0x00, H, X, LO \
	VPCLMULQDQ $0x11, H, X, HI \
	VPCLMULQDQ $0x01, H, X, MI \
	VPCLMULQDQ $0x10, H, X, T  \
	VPXORQ     T, MI, MI

// LOAD takes the 64 bytes to be opened OFF behind SI, to hash them. KEEP keeps what was sealed for that.
#define LOAD(OFF) \
	VMOVDQU64 OFF(SI), Z10 \
	VPSHUFB   Z6, Z10, Z10

#define KEEP \
	VPSHUFB Z6, Z0, Z26 \
	VPSHUFB Z6, Z1, Z27 \
	VPSHUFB Z6, Z2, Z28 \
	VPSHUFB Z6, Z3, Z30

// OUTER and INNER multiply B by the powers OFF behind DX, as Karatsuba does: they add the product of the low halves to Z7, that
// of the high halves to Z9, and that of the sums of both to Z8. They use Z11, Z14 and Z15.
#define OUTER(B, OFF) \
	VMOVDQU64  OFF(DX), Z11       \
	VPCLMULQDQ $0x00, Z11, B, Z14 \
	VPCLMULQDQ $0x11, Z11, B, Z15 \
	VPXORQ     Z14, Z7, Z7        \
	VPXORQ     Z15, Z9, Z9

#define INNER(B, OFF) \
	VPSHUFD    $0x4e, B, Z14                    \
	VPXORQ     B, Z14, Z14                      \
	VPCLMULQDQ $0x00, (HALVES+OFF)(DX), Z14, Z14 \
	VPXORQ     Z14, Z8, Z8

// MIDDLE makes of Z8 the middle of the products, or of that what INNER adds to.
#define MIDDLE VPTERNLOGD $0x96, Z7, Z9, Z8

// ADDONE multiplies X0 by the 16 bytes at H and adds the product to Z7, Z8 and Z9. It uses Z1, Z10, Z11, Z14 and Z15.
#define ADDONE(H) \
	VMOVDQU H, X11                     \
	PRODUCT(X0, X11, X14, X15, X1, X10) \
	VPXORQ  Z14, Z7, Z7                \
	VPXORQ  Z15, Z8, Z8                \
	VPXORQ  Z1, Z9, Z9

// GATHER adds up the four lanes of Z9 into X12. It uses Z10.
#define GATHER \
	VEXTRACTI64X4 $1, Z9, Y10 \
	VPXORQ        Y10, Y9, Y9 \
	VEXTRACTI64X2 $1, Y9, X10 \
	VPXORQ        X10, X9, X12

// COUNT makes the next four counter blocks.
#define COUNT(B) \
	VPSHUFB Z6, Z4, B    \
	VPADDD  Z5, Z4, Z4   \
	VPXORQ  Z16, B, B

#define COUNT4 \
	COUNT(Z0) \
	COUNT(Z1) \
	COUNT(Z2) \
	COUNT(Z3)

#define ROUND4(K) \
	VAESENC K, Z0, Z0 \
	VAESENC K, Z1, Z1 \
	VAESENC K, Z2, Z2 \
	VAESENC K, Z3, Z3

// LONGER4 is the rounds that only AES-256 has.
#define LONGER4 \
	VBROADCASTI32X4 160(AX), Z12 \
	ROUND4(Z12)                  \
	VBROADCASTI32X4 176(AX), Z12 \
	ROUND4(Z12)                  \
	VBROADCASTI32X4 192(AX), Z12 \
	ROUND4(Z12)                  \
	VBROADCASTI32X4 208(AX), Z12 \
	ROUND4(Z12)

#define LAST4 \
	VAESENCLAST Z29, Z0, Z0  \
	VAESENCLAST Z29, Z1, Z1  \
	VAESENCLAST Z29, Z2, Z2  \
	VAESENCLAST Z29, Z3, Z3

// TEXT4 ends the encryption of the counters and puts 256 bytes of text through them.
#define TEXT4 \
	LAST4                     \
	VPXORQ    0(SI), Z0, Z0   \
	VPXORQ    64(SI), Z1, Z1  \
	VPXORQ    128(SI), Z2, Z2 \
	VPXORQ    192(SI), Z3, Z3 \
	VMOVDQU64 Z0, 0(DI)       \
	VMOVDQU64 Z1, 64(DI)      \
	VMOVDQU64 Z2, 128(DI)     \
	VMOVDQU64 Z3, 192(DI)     \
	ADDQ      $256, SI        \
	ADDQ      $256, DI

#define ROUNDS9(R, B) \
	R(Z17, B) R(Z18, B) R(Z19, B) R(Z20, B) R(Z21, B) R(Z22, B) R(Z23, B) R(Z24, B) R(Z25, B)

#define ROUND1(K, B) VAESENC K, B, B;

// The numbers of 128 bytes. From byte n on they are what VPERMI2B takes to move two registers back by n bytes.
DATA numbers<>+0(SB)/8, $0x0706050403020100
DATA numbers<>+8(SB)/8, $0x0f0e0d0c0b0a0908
DATA numbers<>+16(SB)/8, $0x1716151413121110
DATA numbers<>+24(SB)/8, $0x1f1e1d1c1b1a1918
DATA numbers<>+32(SB)/8, $0x2726252423222120
DATA numbers<>+40(SB)/8, $0x2f2e2d2c2b2a2928
DATA numbers<>+48(SB)/8, $0x3736353433323130
DATA numbers<>+56(SB)/8, $0x3f3e3d3c3b3a3938
DATA numbers<>+64(SB)/8, $0x4746454443424140
DATA numbers<>+72(SB)/8, $0x4f4e4d4c4b4a4948
DATA numbers<>+80(SB)/8, $0x5756555453525150
DATA numbers<>+88(SB)/8, $0x5f5e5d5c5b5a5958
DATA numbers<>+96(SB)/8, $0x6766656463626160
DATA numbers<>+104(SB)/8, $0x6f6e6d6c6b6a6968
DATA numbers<>+112(SB)/8, $0x7776757473727170
DATA numbers<>+120(SB)/8, $0x7f7e7d7c7b7a7978
GLOBL numbers<>(SB), RODATA|NOPTR, $128

// func crypt(k *schedule, dst, src *byte, n int, nonce *[12]byte, head, tag *[16]byte, open int, lead *[128]byte, apart int)
//
// Where lead is not nil, the first apart bytes of the text are there: what is sealed of them, or what they open to. src or dst is
// where they would be.
TEXT ·crypt(SB), NOSPLIT, $0-80
	MOVQ k+0(FP), AX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ nonce+32(FP), R8
	MOVQ head+40(FP), R9
	MOVQ tag+48(FP), R10
	MOVQ open+56(FP), R11
	MOVQ ROUNDS(AX), R12
	MOVQ CX, R13

	VBROADCASTI32X4 0(AX), Z16
	VBROADCASTI32X4 16(AX), Z17
	VBROADCASTI32X4 32(AX), Z18
	VBROADCASTI32X4 48(AX), Z19
	VBROADCASTI32X4 64(AX), Z20
	VBROADCASTI32X4 80(AX), Z21
	VBROADCASTI32X4 96(AX), Z22
	VBROADCASTI32X4 112(AX), Z23
	VBROADCASTI32X4 128(AX), Z24
	VBROADCASTI32X4 144(AX), Z25
	VBROADCASTI32X4 160(AX), Z29
	CMPQ            R12, $14
	JNE             ready
	VBROADCASTI32X4 224(AX), Z29

ready:
	VBROADCASTI32X4 reverse<>(SB), Z6
	VBROADCASTI32X4 polynomial<>(SB), Z13
	VBROADCASTI32X4 four<>(SB), Z5

	// J0 is the nonce and a counter of one (SP 800-38D §7.1); it masks the tag, and data begins with the next.
	VMOVQ   (R8), X0
	VPINSRD $2, 8(R8), X0, X0
	MOVL    $0x01000000, BX
	VPINSRD $3, BX, X0, X0
	VPSHUFB X6, X0, X1
	VSHUFI32X4 $0, Z1, Z1, Z4
	VPADDD  lanes<>(SB), Z4, Z4
	MOVL    $1, BX
	VPXORQ  X2, X2, X2
	VPINSRD $0, BX, X2, X2
	VSHUFI32X4 $0, Z2, Z2, Z2
	VPADDD  Z2, Z4, Z4

	VPXORQ  X16, X0, X31
	ROUND1(X17, X31)
	ROUND1(X18, X31)
	ROUND1(X19, X31)
	ROUND1(X20, X31)
	ROUND1(X21, X31)
	ROUND1(X22, X31)
	ROUND1(X23, X31)
	ROUND1(X24, X31)
	ROUND1(X25, X31)
	CMPQ    R12, $14
	JNE     masked
	VAESENC 160(AX), X31, X31
	VAESENC 176(AX), X31, X31
	VAESENC 192(AX), X31, X31
	VAESENC 208(AX), X31, X31

masked:
	VAESENCLAST X29, X31, X31

	// GHASH begins with the header, one block of associated data.
	VMOVDQU (R9), X12
	VPSHUFB X6, X12, X12
	MOVQ    $16, R9

	// Products are added up without reducing them: each block meets the power that says how many blocks follow. What is in
	// X12 meets that of the first block, the header that of one more.
part:
	XORQ R15, R15
	LEAQ 31(CX), DX
	CMPQ CX, $MOST
	JBE  whole
	LEAQ -PART(CX), R15
	MOVQ $PART, CX
	MOVQ $PART, DX

whole:
	ANDQ   $~15, DX
	NEGQ   DX
	LEAQ   END(AX)(DX*1), DX
	MOVQ   DX, R8
	SUBQ   R9, R8
	VMOVDQU (R8), X1
	PRODUCT(X12, X1, X7, X8, X9, X10)
	TESTQ  R15, R15
	JNZ    middle

	// The lengths in bits, of the header and of the text, are the last block.
	SHLQ    $3, R13
	VMOVQ   R13, X0
	MOVQ    $128, BX
	VPINSRQ $1, BX, X0, X0
	ADDONE(ONE(AX))

middle:
	MIDDLE
	MOVQ CX, BX
	SHRQ $8, BX
	JZ   tail
	ANDQ $255, CX
	TESTQ R11, R11
	JNZ  open

	// Sealing hashes what came out the time before.
	COUNT4
	ROUND4(Z17)
	ROUND4(Z18)
	ROUND4(Z19)
	ROUND4(Z20)
	ROUND4(Z21)
	ROUND4(Z22)
	ROUND4(Z23)
	ROUND4(Z24)
	ROUND4(Z25)
	CMPQ R12, $14
	JNE  sealFirst
	LONGER4

sealFirst:
	MOVQ  lead+64(FP), R8
	TESTQ R8, R8
	JNZ   sealApart
	TEXT4

sealKeep:
	KEEP
	DECQ BX
	JZ   sealLast

seal:
	COUNT4
	ROUND4(Z17)
	OUTER(Z26, 0)
	ROUND4(Z18)
	INNER(Z26, 0)
	ROUND4(Z19)
	OUTER(Z27, 64)
	ROUND4(Z20)
	INNER(Z27, 64)
	ROUND4(Z21)
	OUTER(Z28, 128)
	ROUND4(Z22)
	INNER(Z28, 128)
	ROUND4(Z23)
	OUTER(Z30, 192)
	ROUND4(Z24)
	INNER(Z30, 192)
	ROUND4(Z25)
	CMPQ R12, $14
	JNE  sealText
	LONGER4

sealText:
	ADDQ $256, DX
	TEXT4
	KEEP
	DECQ BX
	JNZ  seal

sealLast:
	OUTER(Z26, 0)
	INNER(Z26, 0)
	OUTER(Z27, 64)
	INNER(Z27, 64)
	OUTER(Z28, 128)
	INNER(Z28, 128)
	OUTER(Z30, 192)
	INNER(Z30, 192)
	ADDQ $256, DX
	JMP  rest

	// Opening hashes what goes in, before it may be overwritten.
open:
	COUNT4
	LOAD(0)
	ROUND4(Z17)
	OUTER(Z10, 0)
	ROUND4(Z18)
	INNER(Z10, 0)
	LOAD(64)
	ROUND4(Z19)
	OUTER(Z10, 64)
	ROUND4(Z20)
	INNER(Z10, 64)
	LOAD(128)
	ROUND4(Z21)
	OUTER(Z10, 128)
	ROUND4(Z22)
	INNER(Z10, 128)
	LOAD(192)
	ROUND4(Z23)
	OUTER(Z10, 192)
	ROUND4(Z24)
	INNER(Z10, 192)
	ROUND4(Z25)
	CMPQ R12, $14
	JNE  openText
	LONGER4

openText:
	ADDQ  $256, DX
	MOVQ  lead+64(FP), R8
	TESTQ R8, R8
	JNZ   openApart
	TEXT4

openNext:
	DECQ BX
	JNZ  open

rest:
	TESTQ R15, R15
	JZ    tail
	MIDDLE
	REDUCE(Z13, Z7, Z8, Z9, Z10)
	GATHER
	MOVQ  R15, CX
	XORQ  R9, R9
	JMP   part

tail:
	TESTQ CX, CX
	JZ    sum
	MOVQ  $-1, BX

	// Bytes that the last piece lacks are zeros, whatever power they meet.
piece:
	BZHIQ CX, BX, R8
	KMOVQ R8, K1
	COUNT(Z0)
	ROUNDS9(ROUND1, Z0)
	CMPQ  R12, $14
	JNE   pieceLast
	VBROADCASTI32X4 160(AX), Z12
	VAESENC Z12, Z0, Z0
	VBROADCASTI32X4 176(AX), Z12
	VAESENC Z12, Z0, Z0
	VBROADCASTI32X4 192(AX), Z12
	VAESENC Z12, Z0, Z0
	VBROADCASTI32X4 208(AX), Z12
	VAESENC Z12, Z0, Z0

pieceLast:
	VAESENCLAST Z29, Z0, Z0
	VMOVDQU8.Z  (SI), K1, Z10
	VPXORQ      Z10, Z0, Z0
	VMOVDQU8.Z  Z0, K1, Z0
	VMOVDQU8    Z0, K1, (DI)
	TESTQ       R11, R11
	JNZ         pieceHash
	VMOVDQA64   Z0, Z10

pieceHash:
	VPSHUFB   Z6, Z10, Z10
	OUTER(Z10, 0)
	INNER(Z10, 0)
	ADDQ      $64, SI
	ADDQ      $64, DI
	ADDQ      $64, DX
	SUBQ      $64, CX
	JA        piece

sum:
	MIDDLE
	REDUCE(Z13, Z7, Z8, Z9, Z10)
	GATHER
	VPSHUFB X6, X12, X12
	VPXORQ  X31, X12, X12
	VMOVDQU X12, (R10)
	VZEROUPPER
	RET

// Which of eight headers each lane of two registers is for.
DATA eight<>+0(SB)/8, $0
DATA eight<>+8(SB)/8, $0
DATA eight<>+16(SB)/8, $1
DATA eight<>+24(SB)/8, $1
DATA eight<>+32(SB)/8, $2
DATA eight<>+40(SB)/8, $2
DATA eight<>+48(SB)/8, $3
DATA eight<>+56(SB)/8, $3
DATA eight<>+64(SB)/8, $4
DATA eight<>+72(SB)/8, $4
DATA eight<>+80(SB)/8, $5
DATA eight<>+88(SB)/8, $5
DATA eight<>+96(SB)/8, $6
DATA eight<>+104(SB)/8, $6
DATA eight<>+112(SB)/8, $7
DATA eight<>+120(SB)/8, $7
GLOBL eight<>(SB), RODATA|NOPTR, $128

	// The second register of the text begins with the end of the lead.
sealApart:
	MOVQ      $0, lead+64(FP)
	MOVQ      apart+72(FP), R9
	SUBQ      $64, R9
	MOVQ      $-1, R13
	BZHIQ     R9, R13, R13
	KMOVQ     R13, K1
	MOVQ      n+24(FP), R13
	VMOVDQU64 64(SI), Z10
	VMOVDQU64 64(R8), Z11
	VMOVDQU8  Z11, K1, Z10
	LAST4
	VPXORQ    0(R8), Z0, Z0
	VPXORQ    Z10, Z1, Z1
	VPXORQ    128(SI), Z2, Z2
	VPXORQ    192(SI), Z3, Z3
	VMOVDQU64 Z0, 0(DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	ADDQ      $256, SI
	ADDQ      $256, DI
	JMP       sealKeep

	// The first bytes behind the lead are of the second register and the third.
openApart:
	MOVQ      $0, lead+64(FP)
	MOVQ      apart+72(FP), R9
	LEAQ      numbers<>(SB), R13
	VMOVDQU64 -64(R13)(R9*1), Z10
	MOVQ      n+24(FP), R13
	LAST4
	VPXORQ    0(SI), Z0, Z0
	VPXORQ    64(SI), Z1, Z1
	VPXORQ    128(SI), Z2, Z2
	VPXORQ    192(SI), Z3, Z3
	VPERMI2B  Z2, Z1, Z10
	VMOVDQU64 Z0, 0(R8)
	VMOVDQU64 Z1, 64(R8)
	VMOVDQU64 Z10, (DI)(R9*1)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	ADDQ      $256, SI
	ADDQ      $256, DI
	JMP       openNext

// ROUND encrypts the blocks of Z0 and Z4 with the round key OFF behind AX. It uses Z1.
#define ROUND(OFF) \
	VBROADCASTI32X4 OFF(AX), Z1 \
	VAESENC         Z1, Z0, Z0  \
	VAESENC         Z1, Z4, Z4

// HEADS makes of COUNTER, twice in each lane, byte-reversed headers in HEAD and the blocks that are encrypted for them in BLOCK.
// It uses Z1.
#define HEADS(COUNTER, HEAD, BLOCK) \
	VMOVDQA64  COUNTER, HEAD       \
	VMOVDQA64  Z16, K1, HEAD       \
	VPXORQ     Z17, COUNTER, BLOCK \
	VPSRLQ     $32, BLOCK, Z1      \
	VPORQ      Z18, Z1, Z1         \
	VPSLLQ     $32, BLOCK, BLOCK   \
	VPORQ      Z19, BLOCK, BLOCK   \
	VMOVDQA64  Z1, K1, BLOCK       \
	VPSHUFB    Z6, BLOCK, BLOCK

// HASH makes of byte-reversed headers their hashes. The header meets the square of the hash key, Z3; what the lengths add, Z5, is
// the same for all. It uses Z7, Z8, Z9 and Z10.
#define HASH(HEAD, TO) \
	PRODUCT(HEAD, Z3, Z7, Z8, Z9, Z10) \
	REDUCE(Z13, Z7, Z8, Z9, Z10)       \
	VPXORQ  Z5, Z9, Z9                 \
	VPSHUFB Z6, Z9, TO

// func tags(k *schedule, h *Heads)
TEXT ·tags(SB), NOSPLIT, $0-16
	MOVQ k+0(FP), AX
	MOVQ h+8(FP), DI

	VBROADCASTI32X4 reverse<>(SB), Z6
	VBROADCASTI32X4 polynomial<>(SB), Z13
	MOVQ            $0xaa, CX // the upper halves of the lanes
	KMOVQ           CX, K1
	VPBROADCASTQ    128(DI), Z16 // First
	VPBROADCASTQ    136(DI), Z2  // Counter
	VPBROADCASTQ    144(DI), Z18 // Front
	VPBROADCASTQ    152(DI), Z17 // Mask
	VPBROADCASTQ    polynomial<>(SB), Z19 // 1: SP 800-38D §7.1
	VPADDQ          eight<>+0(SB), Z2, Z11
	VPADDQ          eight<>+64(SB), Z2, Z12
	HEADS(Z11, Z2, Z0)
	HEADS(Z12, Z14, Z4)
	VBROADCASTI32X4 (ONE-16)(AX), Z3
	VBROADCASTI32X4 LENGTHS(AX), Z5
	HASH(Z2, Z11)
	HASH(Z14, Z12)

	VBROADCASTI32X4 0(AX), Z1
	VPXORQ          Z1, Z0, Z0
	VPXORQ          Z1, Z4, Z4
	ROUND(16)
	ROUND(32)
	ROUND(48)
	ROUND(64)
	ROUND(80)
	ROUND(96)
	ROUND(112)
	ROUND(128)
	ROUND(144)
	VBROADCASTI32X4 160(AX), Z1
	CMPQ            ROUNDS(AX), $14
	JNE             tagLast
	VAESENC         Z1, Z0, Z0
	VAESENC         Z1, Z4, Z4
	ROUND(176)
	ROUND(192)
	ROUND(208)
	VBROADCASTI32X4 224(AX), Z1

tagLast:
	VAESENCLAST Z1, Z0, Z0
	VAESENCLAST Z1, Z4, Z4
	VPXORQ      Z11, Z0, Z0
	VPXORQ      Z12, Z4, Z4
	VMOVDQU64   Z0, 0(DI)
	VMOVDQU64   Z4, 64(DI)
	VZEROUPPER
	RET

// func multiply(product, a, b *[16]byte)
TEXT ·multiply(SB), NOSPLIT, $0-24
	MOVQ product+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	VBROADCASTI32X4 polynomial<>(SB), Z13
	VMOVDQU (SI), X0
	VMOVDQU (DX), X1
	PRODUCT(X0, X1, X7, X8, X9, X10)
	REDUCE(X13, X7, X8, X9, X10)
	VMOVDQU X9, (DI)
	VZEROUPPER
	RET

// func substitute(w uint32) uint32
TEXT ·substitute(SB), NOSPLIT, $0-12
	MOVL w+0(FP), AX
	VPXOR X0, X0, X0
	VPINSRD $1, AX, X0, X0
	VAESKEYGENASSIST $0, X0, X0
	VMOVD X0, AX
	MOVL AX, ret+8(FP)
	RET
