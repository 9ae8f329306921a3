/* The vector operations v_NAME, by the file that defines them. */
#ifndef ISHI_CPU_VEC_OPS_H
#define ISHI_CPU_VEC_OPS_H

#include "cpu/vec.h"

/* clang-format off */
#define VEC_OPS(X) \
    /* integers */ \
    X(paddb) X(paddw) X(paddd) X(paddq) X(psubb) X(psubw) X(psubd) X(psubq) X(paddsb) X(paddsw) \
    X(paddusb) X(paddusw) X(psubsb) X(psubsw) X(psubusb) X(psubusw) X(pminub) X(pminuw) \
    X(pminud) X(pminsb) X(pminsw) X(pminsd) X(pmaxub) X(pmaxuw) X(pmaxud) X(pmaxsb) X(pmaxsw) \
    X(pmaxsd) X(pavgb) X(pavgw) X(pcmpeqb) X(pcmpeqw) X(pcmpeqd) X(pcmpeqq) X(pcmpgtb) \
    X(pcmpgtw) X(pcmpgtd) X(pcmpgtq) X(pand) X(pandn) X(por) X(pxor) X(pmullw) X(pmulhw) \
    X(pmulhuw) X(pmulhrsw) X(pmulld) X(pmuludq) X(pmuldq) X(pabsb) X(pabsw) X(pabsd) X(psignb) \
    X(psignw) X(psignd) X(psllvd) X(psllvq) X(psrlvd) X(psrlvq) X(psravd) X(psllw) X(psllw_imm) \
    X(pslld) X(pslld_imm) X(psllq) X(psllq_imm) X(psrlw) X(psrlw_imm) X(psrld) X(psrld_imm) \
    X(psrlq) X(psrlq_imm) X(psraw) X(psraw_imm) X(psrad) X(psrad_imm) X(pslldq) X(psrldq) \
    X(pmaddwd) X(pmaddubsw) X(psadbw) X(phaddw) X(phaddd) X(phaddsw) X(phsubw) X(phsubd) \
    X(phsubsw) X(mpsadbw) X(phminposuw) \
    /* moves */ \
    X(punpcklbw) X(punpcklwd) X(punpckldq) X(punpcklqdq) X(punpckhbw) X(punpckhwd) X(punpckhdq) \
    X(punpckhqdq) X(packsswb) X(packuswb) X(packssdw) X(packusdw) X(pshufb) X(pshufw) X(pshufd) \
    X(pshuflw) X(pshufhw) X(shufps) X(shufpd) X(palignr) X(movddup) X(movsldup) X(movshdup) \
    X(pmovsxbw) X(pmovsxbd) X(pmovsxbq) X(pmovsxwd) X(pmovsxwq) X(pmovsxdq) X(pmovzxbw) \
    X(pmovzxbd) X(pmovzxbq) X(pmovzxwd) X(pmovzxwq) X(pmovzxdq) X(mov) X(movss) X(movsd) X(movq) \
    X(movhlps) X(movlhps) X(pblendw) X(blendps) X(blendpd) X(pblendvb) X(blendvps) X(blendvpd) \
    X(insertps) X(pinsrb) X(pinsrw) X(pinsrd) X(pinsrq) X(pextrb) X(pextrw) X(pextrd) X(pextrq) \
    X(pmovmskb) X(movmskps) X(movmskpd) X(movd_load) X(movd_store) X(movq2dq) X(movdq2q) \
    X(ptest) X(vtestps) X(vtestpd) \
    /* arithmetic */ \
    X(addps) X(addss) X(addpd) X(addsd) X(subps) X(subss) X(subpd) X(subsd) X(mulps) X(mulss) \
    X(mulpd) X(mulsd) X(divps) X(divss) X(divpd) X(divsd) X(minps) X(minss) X(minpd) X(minsd) \
    X(maxps) X(maxss) X(maxpd) X(maxsd) X(addsubps) X(addsubpd) X(sqrtps) X(sqrtpd) X(sqrtss) \
    X(sqrtsd) X(haddps) X(haddpd) X(hsubps) X(hsubpd) X(dpps) X(dppd) \
    /* floating point */ \
    X(rcpps) X(rcpss) X(rsqrtps) X(rsqrtss) X(roundps) X(roundpd) X(roundss) X(roundsd) X(cmpps) \
    X(cmppd) X(cmpss) X(cmpsd) X(comiss) X(comisd) X(ucomiss) X(ucomisd) \
    /* conversions */ \
    X(cvtps2pd) X(cvtss2sd) X(cvtpd2ps) X(cvtsd2ss) X(cvtdq2ps) X(cvtdq2pd) X(cvtsi2ss) \
    X(cvtsi2sd) X(cvtps2dq) X(cvttps2dq) X(cvtpd2dq) X(cvttpd2dq) X(cvtss2si) X(cvttss2si) \
    X(cvtsd2si) X(cvttsd2si) X(cvtpi2ps) X(cvtpi2pd) X(cvtps2pi) X(cvttps2pi) X(cvtpd2pi) \
    X(cvttpd2pi) X(vcvtph2ps) X(vcvtps2ph) \
    /* text */ \
    X(pcmpestri) X(pcmpistri) X(pcmpestrm) X(pcmpistrm) \
    /* AES, SHA */ \
    X(aesenc) X(aesenclast) X(aesdec) X(aesdeclast) X(aesimc) X(aeskeygenassist) X(pclmulqdq) \
    X(sha1rnds4) X(sha1nexte) X(sha1msg1) X(sha1msg2) X(sha256rnds2) X(sha256msg1) X(sha256msg2) \
    /* fused multiply-add */ \
    X(fmaps) X(fmapd) X(fmass) X(fmasd) \
    /* AVX only */ \
    X(vbroadcast8) X(vbroadcast16) X(vbroadcast32) X(vbroadcast64) X(vbroadcast128) X(vpermilps) \
    X(vpermilpd) X(vpermilpd_imm) X(vpermd) X(vpermq) X(vperm2x128) X(vinsert128) X(vextract128) \
    X(vmaskload32) X(vmaskload64) X(vmaskstore32) X(vmaskstore64) X(vgatherdd) X(vgatherdq) \
    X(vgatherqd) X(vgatherqq)
/* clang-format on */
#define X(name) extern vec_op v_##name;
VEC_OPS(X)
#undef X

#endif
