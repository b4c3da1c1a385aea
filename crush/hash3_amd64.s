#include "textflag.h"

// One line of Jenkins' mix on eight lanes: p = (p - q - r) ^ (r shifted by s).
// Y15 is scratch.
#define RIGHT(p, q, r, s) \
	VPSUBD q, p, p    \
	VPSUBD r, p, p    \
	VPSRLD $s, r, Y15 \
	VPXOR  Y15, p, p

#define LEFT(p, q, r, s) \
	VPSUBD q, p, p    \
	VPSUBD r, p, p    \
	VPSLLD $s, r, Y15 \
	VPXOR  Y15, p, p

#define MIX(a, b, c) \
	RIGHT(a, b, c, 13) \
	LEFT(b, c, a, 8)   \
	RIGHT(c, a, b, 13) \
	RIGHT(a, b, c, 12) \
	LEFT(b, c, a, 16)  \
	RIGHT(c, a, b, 5)  \
	RIGHT(a, b, c, 3)  \
	LEFT(b, c, a, 10)  \
	RIGHT(c, a, b, 15)

// func hash3AVX2(dst *uint32, ids *int32, n int, x, r uint32)
//
// dst[i] = Hash3(x, ids[i], r) for i below n, a multiple of 8 above 0.
TEXT ·hash3AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ ids+8(FP), SI
	MOVQ n+16(FP), CX
	MOVL x+24(FP), AX
	MOVL r+28(FP), BX

	// What all lanes share: x in Y6, r in Y7, the constants in Y8 and Y9,
	// and seed ^ x ^ r in Y10.
	VMOVD        AX, X6
	VPBROADCASTD X6, Y6
	VMOVD        BX, X7
	VPBROADCASTD X7, Y7
	MOVL         $231232, DX
	VMOVD        DX, X8
	VPBROADCASTD X8, Y8
	MOVL         $1232, DX
	VMOVD        DX, X9
	VPBROADCASTD X9, Y9
	XORL         BX, AX
	XORL         $1315423911, AX
	VMOVD        AX, X10
	VPBROADCASTD X10, Y10

loop:
	VMOVDQU (SI), Y1     // b
	VMOVDQA Y6, Y0       // a
	VMOVDQA Y7, Y2       // c
	VMOVDQA Y8, Y3       // x
	VMOVDQA Y9, Y4       // y
	VPXOR   Y1, Y10, Y5  // h
	MIX(Y0, Y1, Y5)
	MIX(Y2, Y3, Y5)
	MIX(Y4, Y0, Y5)
	MIX(Y1, Y3, Y5)
	MIX(Y4, Y2, Y5)
	VMOVDQU Y5, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     loop
	VZEROUPPER
	RET
