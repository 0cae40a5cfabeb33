//go:build !purego

#include "textflag.h"

// Offsets in schedule.
#define ROUNDS 240
#define POWERS 256
#define ONE    (POWERS + 15*16)

// Registers throughout:
//   Z16..Z25 round keys 0 to 9, Z26 Z27 Z28 Z30 round keys 10 to 13 (AES-256 only), Z29 the last one
//   Z4  four counters, byte-reversed so that they add up in their low words; Z5 what to add
//   Z6  byte reversal within blocks; Z13 the reduction polynomial
//   X12 GHASH so far, byte-reversed; Z7 Z8 Z9 low, middle and high of the products of a chunk

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

// ADDPRODUCT adds the product of X and H to Z7, Z8 and Z9. It uses Z10, Z11, Z14 and Z15.
#define ADDPRODUCT(X, H) \
	VPCLMULQDQ $0x00, H, X, Z10     \
	VPCLMULQDQ $0x11, H, X, Z11     \
	VPCLMULQDQ $0x01, H, X, Z14     \
	VPCLMULQDQ $0x10, H, X, Z15     \
	VPXORQ     Z10, Z7, Z7          \
	VPXORQ     Z11, Z9, Z9          \
	VPTERNLOGD $0x96, Z14, Z15, Z8

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

#define ROUND4(K) \
	VAESENC K, Z0, Z0 \
	VAESENC K, Z1, Z1 \
	VAESENC K, Z2, Z2 \
	VAESENC K, Z3, Z3

#define ROUNDS9(R, B) \
	R(Z17, B) R(Z18, B) R(Z19, B) R(Z20, B) R(Z21, B) R(Z22, B) R(Z23, B) R(Z24, B) R(Z25, B)

#define ROUND1(K, B) VAESENC K, B, B;

// func crypt(k *schedule, dst, src *byte, n int, nonce *[12]byte, head, tag *[16]byte, open int)
TEXT ·crypt(SB), NOSPLIT, $0-64
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
	VBROADCASTI32X4 160(AX), Z26
	VBROADCASTI32X4 176(AX), Z27
	VBROADCASTI32X4 192(AX), Z28
	VBROADCASTI32X4 208(AX), Z30
	VMOVDQA64       Z26, Z29
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
	ROUND1(X26, X31)
	ROUND1(X27, X31)
	ROUND1(X28, X31)
	ROUND1(X30, X31)

masked:
	VAESENCLAST X29, X31, X31

	// The header is one block of associated data.
	VMOVDQU (R9), X0
	VPSHUFB X6, X0, X0
	VMOVDQU ONE(AX), X1
	PRODUCT(X0, X1, X7, X8, X9, X10)
	REDUCE(X13, X7, X8, X9, X10)
	VMOVDQA64 X9, X12

	CMPQ CX, $256
	JB   tail

chunk:
	COUNT(Z0)
	COUNT(Z1)
	COUNT(Z2)
	COUNT(Z3)
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
	JNE  last
	ROUND4(Z26)
	ROUND4(Z27)
	ROUND4(Z28)
	ROUND4(Z30)

last:
	VAESENCLAST Z29, Z0, Z0
	VAESENCLAST Z29, Z1, Z1
	VAESENCLAST Z29, Z2, Z2
	VAESENCLAST Z29, Z3, Z3

	// GHASH is over the ciphertext: what comes out when sealing, what came in when opening.
	VMOVDQU64 0(SI), Z7
	VMOVDQU64 64(SI), Z8
	VMOVDQU64 128(SI), Z9
	VMOVDQU64 192(SI), Z10
	VPXORQ    Z7, Z0, Z0
	VPXORQ    Z8, Z1, Z1
	VPXORQ    Z9, Z2, Z2
	VPXORQ    Z10, Z3, Z3
	VMOVDQU64 Z0, 0(DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	TESTQ     R11, R11
	JZ        hash
	VMOVDQA64 Z7, Z0
	VMOVDQA64 Z8, Z1
	VMOVDQA64 Z9, Z2
	VMOVDQA64 Z10, Z3

hash:
	VPSHUFB Z6, Z0, Z0
	VPXORQ  Z12, Z0, Z0
	VPSHUFB Z6, Z1, Z1
	VPSHUFB Z6, Z2, Z2
	VPSHUFB Z6, Z3, Z3
	VMOVDQU64 POWERS+0(AX), Z14
	PRODUCT(Z0, Z14, Z7, Z8, Z9, Z10)
	VMOVDQU64 POWERS+64(AX), Z0
	ADDPRODUCT(Z1, Z0)
	VMOVDQU64 POWERS+128(AX), Z0
	ADDPRODUCT(Z2, Z0)
	VMOVDQU64 POWERS+192(AX), Z0
	ADDPRODUCT(Z3, Z0)
	REDUCE(Z13, Z7, Z8, Z9, Z10)
	GATHER

	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $256, CX
	CMPQ CX, $256
	JAE  chunk

tail:
	TESTQ CX, CX
	JZ    lengths

	// The tail's m blocks meet the powers from m down to 1; zeros behind those leave the missing ones out.
	LEAQ   15(CX), BX
	SHRQ   $4, BX
	SHLQ   $4, BX
	LEAQ   POWERS+256(AX), DX
	SUBQ   BX, DX
	VPXORQ Z7, Z7, Z7
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	MOVQ   $-1, BX

piece:
	BZHIQ CX, BX, R8
	KMOVQ R8, K1
	COUNT(Z0)
	ROUNDS9(ROUND1, Z0)
	CMPQ  R12, $14
	JNE   pieceLast
	ROUND1(Z26, Z0)
	ROUND1(Z27, Z0)
	ROUND1(Z28, Z0)
	ROUND1(Z30, Z0)

pieceLast:
	VAESENCLAST Z29, Z0, Z0
	VMOVDQU8.Z  (SI), K1, Z1
	VPXORQ      Z1, Z0, Z0
	VMOVDQU8.Z  Z0, K1, Z0
	VMOVDQU8    Z0, K1, (DI)
	TESTQ       R11, R11
	JZ          pieceHash
	VMOVDQA64   Z1, Z0

pieceHash:
	VPSHUFB   Z6, Z0, Z0
	VPXORQ    Z12, Z0, Z0
	VPXORQ    X12, X12, X12
	VMOVDQU64 (DX), Z1
	ADDPRODUCT(Z0, Z1)
	ADDQ      $64, SI
	ADDQ      $64, DI
	ADDQ      $64, DX
	SUBQ      $64, CX
	JA        piece
	REDUCE(Z13, Z7, Z8, Z9, Z10)
	GATHER

lengths:
	SHLQ    $3, R13
	VPXORQ  X0, X0, X0
	VPINSRQ $0, R13, X0, X0
	MOVQ    $128, BX
	VPINSRQ $1, BX, X0, X0
	VPXORQ  X12, X0, X0
	VMOVDQU ONE(AX), X1
	PRODUCT(X0, X1, X7, X8, X9, X10)
	REDUCE(X13, X7, X8, X9, X10)
	VPSHUFB X6, X9, X9
	VPXORQ  X31, X9, X9
	VMOVDQU X9, (R10)
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
