#include "textflag.h"

// One line of Jenkins' mix on two groups of four lanes in turn, so that each
// waits for the other's results: p = (p - q - r) ^ (r shifted by s), P, Q, R
// likewise. X12 and X13 are scratch.
#define RIGHT2(p, q, r, P, Q, R, s) \
	MOVO  r, X12   \
	MOVO  R, X13   \
	PSUBL q, p     \
	PSUBL Q, P     \
	PSRLL $s, X12  \
	PSRLL $s, X13  \
	PSUBL r, p     \
	PSUBL R, P     \
	PXOR  X12, p   \
	PXOR  X13, P

#define LEFT2(p, q, r, P, Q, R, s) \
	MOVO  r, X12   \
	MOVO  R, X13   \
	PSUBL q, p     \
	PSUBL Q, P     \
	PSLLL $s, X12  \
	PSLLL $s, X13  \
	PSUBL r, p     \
	PSUBL R, P     \
	PXOR  X12, p   \
	PXOR  X13, P

#define MIX2(a, b, c, A, B, C) \
	RIGHT2(a, b, c, A, B, C, 13) \
	LEFT2(b, c, a, B, C, A, 8)   \
	RIGHT2(c, a, b, C, A, B, 13) \
	RIGHT2(a, b, c, A, B, C, 12) \
	LEFT2(b, c, a, B, C, A, 16)  \
	RIGHT2(c, a, b, C, A, B, 5)  \
	RIGHT2(a, b, c, A, B, C, 3)  \
	LEFT2(b, c, a, B, C, A, 10)  \
	RIGHT2(c, a, b, C, A, B, 15)

// BROADCAST fills two groups of lanes from a register.
#define BROADCAST(from, to, TO) \
	MOVL   from, DX      \
	MOVQ   DX, to        \
	PSHUFL $0, to, to    \
	MOVO   to, TO

// func hash3SSE2(dst *uint32, ids *int32, n int, x, r uint32)
//
// dst[i] = Hash3(x, ids[i], r) for i below n, a multiple of 8 above 0. Groups:
// a, b, c, x, y, h in X0 to X5, and in X6 to X11.
TEXT ·hash3SSE2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ ids+8(FP), SI
	MOVQ n+16(FP), CX
	MOVL x+24(FP), AX
	MOVL r+28(FP), BX
	MOVL BX, R8
	XORL AX, R8
	XORL $1315423911, R8

loop:
	BROADCAST(AX, X0, X6)
	MOVOU (SI), X1
	MOVOU 16(SI), X7
	BROADCAST(BX, X2, X8)
	BROADCAST($231232, X3, X9)
	BROADCAST($1232, X4, X10)
	BROADCAST(R8, X5, X11)
	PXOR X1, X5
	PXOR X7, X11
	MIX2(X0, X1, X5, X6, X7, X11)
	MIX2(X2, X3, X5, X8, X9, X11)
	MIX2(X4, X0, X5, X10, X6, X11)
	MIX2(X1, X3, X5, X7, X9, X11)
	MIX2(X4, X2, X5, X10, X8, X11)
	MOVOU X5, (DI)
	MOVOU X11, 16(DI)
	ADDQ  $32, SI
	ADDQ  $32, DI
	SUBQ  $8, CX
	JNZ   loop
	RET
