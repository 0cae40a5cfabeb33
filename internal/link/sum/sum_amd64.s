//go:build !purego

#include "textflag.h"

// Each pair moves 128 bits on by so many bits: x^(distance+31) and x^(distance-33) modulo the polynomial, reflected.
DATA by2048<>+0(SB)/8, $0xdcb17aa4
DATA by2048<>+8(SB)/8, $0xb9e02b86
GLOBL by2048<>(SB), RODATA|NOPTR, $16

DATA by1536<>+0(SB)/8, $0xa87ab8a8
DATA by1536<>+8(SB)/8, $0xab7aff2a
GLOBL by1536<>(SB), RODATA|NOPTR, $16

DATA by1024<>+0(SB)/8, $0x6992cea2
DATA by1024<>+8(SB)/8, $0x0d3b6092
GLOBL by1024<>(SB), RODATA|NOPTR, $16

DATA by512<>+0(SB)/8, $0x740eef02
DATA by512<>+8(SB)/8, $0x9e4addf8
GLOBL by512<>(SB), RODATA|NOPTR, $16

// The four lanes of a register to the last one.
DATA lanes<>+0(SB)/8, $0x1c291d04
DATA lanes<>+8(SB)/8, $0xddc0152b
DATA lanes<>+16(SB)/8, $0x3da6d0cb
DATA lanes<>+24(SB)/8, $0xba4fc28e
DATA lanes<>+32(SB)/8, $0xf20c0dfe
DATA lanes<>+40(SB)/8, $0x493c7d27
DATA lanes<>+48(SB)/8, $0
DATA lanes<>+56(SB)/8, $0
GLOBL lanes<>(SB), RODATA|NOPTR, $64

// NEXT moves X on by K and adds FROM. It uses Z8.
#define NEXT(X, K, FROM) \
	VPCLMULQDQ $0x00, K, X, Z8 \
	VPCLMULQDQ $0x11, K, X, X  \
	VPTERNLOGD $0x96, FROM, Z8, X

// func copySum(lead, head *byte, size int, dst, src *byte, n int) uint32
TEXT ·copySum(SB), NOSPLIT, $0-52
	MOVQ lead+0(FP), DI
	MOVQ head+8(FP), SI
	MOVQ size+16(FP), CX
	MOVL $-1, AX
	CMPQ DI, SI
	JE   sums

headWord:
	CMPQ   CX, $8
	JB     headByte
	MOVQ   (SI), BX
	MOVQ   BX, (DI)
	CRC32Q BX, AX
	ADDQ   $8, SI
	ADDQ   $8, DI
	SUBQ   $8, CX
	JMP    headWord

headByte:
	CMPQ   CX, $4
	JB     headLast
	MOVL   (SI), BX
	MOVL   BX, (DI)
	CRC32L BX, AX
	ADDQ   $4, SI
	ADDQ   $4, DI
	SUBQ   $4, CX

headLast:
	TESTQ  CX, CX
	JZ     text
	MOVB   (SI), BX
	MOVB   BX, (DI)
	CRC32B BX, AX
	INCQ   SI
	INCQ   DI
	DECQ   CX
	JMP    headLast

	// Where it lies already, it is only summed.
sums:
	CMPQ   CX, $8
	JB     sumByte
	CRC32Q (SI), AX
	ADDQ   $8, SI
	SUBQ   $8, CX
	JMP    sums

sumByte:
	CMPQ   CX, $4
	JB     sumLast
	CRC32L (SI), AX
	ADDQ   $4, SI
	SUBQ   $4, CX

sumLast:
	TESTQ  CX, CX
	JZ     text
	CRC32B (SI), AX
	INCQ   SI
	DECQ   CX
	JMP    sumLast

text:
	MOVQ dst+24(FP), DI
	MOVQ src+32(FP), SI
	MOVQ n+40(FP), CX

	VBROADCASTI32X4 by2048<>(SB), Z16
	VBROADCASTI32X4 by512<>(SB), Z17
	VMOVDQU64 0(SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVDQU64 Z0, 0(DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	VMOVD     AX, X8
	VPXORQ    Z8, Z0, Z0
	ADDQ      $256, SI
	ADDQ      $256, DI
	SUBQ      $256, CX
	CMPQ      CX, $256
	JB        four

chunk:
	VMOVDQU64 0(SI), Z4
	VMOVDQU64 64(SI), Z5
	VMOVDQU64 128(SI), Z6
	VMOVDQU64 192(SI), Z7
	VMOVDQU64 Z4, 0(DI)
	VMOVDQU64 Z5, 64(DI)
	VMOVDQU64 Z6, 128(DI)
	VMOVDQU64 Z7, 192(DI)
	NEXT(Z0, Z16, Z4)
	NEXT(Z1, Z16, Z5)
	NEXT(Z2, Z16, Z6)
	NEXT(Z3, Z16, Z7)
	ADDQ      $256, SI
	ADDQ      $256, DI
	SUBQ      $256, CX
	CMPQ      CX, $256
	JAE       chunk

four:
	VBROADCASTI32X4 by1536<>(SB), Z18
	VBROADCASTI32X4 by1024<>(SB), Z19
	NEXT(Z2, Z17, Z3)
	NEXT(Z1, Z19, Z2)
	NEXT(Z0, Z18, Z1)
	CMPQ      CX, $64
	JB        one

piece:
	VMOVDQU64 (SI), Z4
	VMOVDQU64 Z4, (DI)
	NEXT(Z0, Z17, Z4)
	ADDQ      $64, SI
	ADDQ      $64, DI
	SUBQ      $64, CX
	CMPQ      CX, $64
	JAE       piece

one:
	VEXTRACTI64X2 $3, Z0, X4
	VMOVDQU64     lanes<>(SB), Z18
	VPCLMULQDQ    $0x00, Z18, Z0, Z8
	VPCLMULQDQ    $0x11, Z18, Z0, Z9
	VPXORQ        Z8, Z9, Z0
	VEXTRACTI64X4 $1, Z0, Y1
	VPXORQ        Y0, Y1, Y0
	VEXTRACTI64X2 $1, Y0, X1
	VPTERNLOGD    $0x96, X4, X1, X0
	VMOVQ         X0, BX
	VPEXTRQ       $1, X0, DX
	XORQ          AX, AX
	CRC32Q        BX, AX
	CRC32Q        DX, AX
	VZEROUPPER

	// What is left, fewer than 64 bytes.
word:
	CMPQ   CX, $8
	JB     byte
	MOVQ   (SI), BX
	MOVQ   BX, (DI)
	CRC32Q BX, AX
	ADDQ   $8, SI
	ADDQ   $8, DI
	SUBQ   $8, CX
	JMP    word

byte:
	CMPQ   CX, $4
	JB     last
	MOVL   (SI), BX
	MOVL   BX, (DI)
	CRC32L BX, AX
	ADDQ   $4, SI
	ADDQ   $4, DI
	SUBQ   $4, CX

last:
	TESTQ  CX, CX
	JZ     done
	MOVB   (SI), BX
	MOVB   BX, (DI)
	CRC32B BX, AX
	INCQ   SI
	INCQ   DI
	DECQ   CX
	JMP    last

done:
	MOVL AX, ret+48(FP)
	RET
