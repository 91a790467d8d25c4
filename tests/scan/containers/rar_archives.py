"""RAR archives of releases up to 4: a few that RAR 6.23 itself packed, others made by hand."""

import base64
import math
import random
import struct
import zlib
from collections.abc import Iterable

from mailward.testing import EICAR
from tests.scan.containers.ace_archives import text

MAGIC = b"Rar!\x1a\x07\0"
SOLID = 0x10

Token = int | tuple[int, int] | str
"""A byte; distance and length; ``end`` of the file, the next of which begins with its own codes;
``goes on``: the same, without; or bits."""


Token20 = Token | tuple[str, int, int]
"""Also ``codes``: others; ``again``: the last match; ``recent``, which, length; and ``short``, 0,
distance: two bytes."""


def program() -> bytes:
    """With calls of few places, from everywhere."""
    choose = random.Random(0)
    parts = [
        b"\x8b\x45\x08\x50",
        b"\x89\xec\x5d\xc3",
        b"\x55\x89\xe5",
        b"\x83\xec\x10",
        b"\x31\xc0",
    ]
    out = b""
    while len(out) < 4000:
        out += b"".join(choose.choices(parts, k=choose.randrange(1, 4)))
        opcode = choose.choice(b"\xe8\xe8\xe9")
        out += struct.pack("<Bl", opcode, choose.choice((64, 512, 1000, 3000)) - len(out) - 5)
    return out


def sound() -> bytes:
    return b"".join(
        struct.pack("<hh", int(9000 * math.sin(n / 23)), int(7000 * math.sin(n / 31 + 1)))
        for n in range(500)
    )


def picture() -> bytes:
    points = ((x + y // 2, 2 * x, y * 2 + x) for y in range(40) for x in range(50))
    return bytes(value & 255 for point in points for value in point)


def table() -> bytes:
    return b"".join(struct.pack("<LL", n * 1000, n * 17) for n in range(500))


def near() -> bytes:
    """Thirty times nearly the same: PPMd of order 63 fills a MiB by it."""
    choose = random.Random(5)
    words = bytearray(text(1500))
    out = b""
    for _ in range(30):
        for _ in range(3):
            words[choose.randrange(len(words))] = choose.randrange(97, 123)
        out += bytes(words)
    return out


def _packed(letters: str) -> bytes:
    return base64.b85decode(letters)


FILES = {
    "empty": b"",
    "words.txt": text(1500),
    "eicar.com": EICAR,
    "more.txt": text(1500) + text(200, 1),
}
"""In the first two, which are solid as all are here."""

LZ77 = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000#m{trfF%G3000000000300000q-c3v9Ww<0q=5hcWo>YDc>uqNXZET8)PJCKkbo%w"
    "H39$t+ywvt1Ie`Ob);x{T^%zC0HlEc0C#V4WOFWbcytY!P|VEz5EXn?KqUg`53W&rYz{gj0*hFY+9<Y)0^D0#8q!e$"
    "`@IfPV~D1a!-S;R7r>`OS}@_xXgP`a-f20jm~egnhW-pq(6H1S8ezijXLAhDZUqxQRwiV$xcd*gACii>7@UNdWu!5x"
    "I!yWL9B;k4qCmxEn&Moxn{sO4GiO6}IV;AvqCXiaw~e*~l1i=_>ZY<*oObOSGtp44$*j{ODuEyRftG}TIxlx54bu-6"
    "0-eqznoSVioAxjX)Q&4&w`6?O>^vF0I%l{!VRe`%Vxq%2^S25^)Y#3u`cu_ceGts_n<K|SYl3K8X?IFm&k5<8TCOi2"
    "03wJ1?aI67DX-lR*gxQ2tR!~mSW^-lepdn^#uKVMsIJT0vO+Pq#ihA%RVsLRk!LKe;up$prNFp?qMtSM;2BUBm+(S3"
    "u~E{w3N-}c%8vg{TogF11n_8z^MD}&%b)TyLT5-i$$-_b)pm@AhAJgfg7y@{<h{O0+?WuE;Pr^$ARyjGpkgvS5&2+&"
    "PFWmTv3$ppLvkGe;S}Tqr7|O^f&X!kY~Lq3B8U{hh9c>}o?Ad9xpBGnTu==XS(3|m98p;r0D}lBK+C9bPQp43d3-3N"
    "_!*IzP92INKx3w*XrWVMLVpHQEfysDNkG^Xn356036IT|suNdr;To8<w<GYWNFk_Pgs|yCrm%+%0>X+zI*3ZYWXlHK"
    "c16i@Vd%Q@?npsVOBOdL+WP5O9e;o?o^+6aDF8wM002Y)0009#&rxWkXn9>7GYJ5sfdBwyX=7n>E@N+P`+I(U8oeI="
    "y<d*6&ac0f>h$XUdcE26`2W708gupcX7AV6^6cUEX5nko_0!$-@6E48shi=a<D;Xex7pk4{s21abdZ230D1rb0Hg*0"
    "00YYHg8QUsd0ibd2mqvk003=oa%C=bcy#mk@b>-t_xN=rHN?RxBPV^<-)UsCW*q+`_W^KiPH9Pjax+F(U^@7!cuyQy"
    "=qqrz1#W5JqUta2$0U}+_Hh*Ue$|DpCAQO5(}Vc)vheA*<7D%K<e1qG)=0hG_)ij{(9X%;v%$6}wwDYjrKbjhtSz-N"
    "qE-GN#65ceKnDN"
)
PPMD = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000C2DklfF%G3000000000300000q-c3v9W@02q=5hcWo>YDc>uqNXZET8)Wa5Zkbo%w"
    "jR61v+ywvt1Ie`Ob);x{T^%(E0HlEc0C#V4WOFWbcy#9g|9S6o&Eylgl)piwm>2{@81OHG`>s8t`D&f^*v-w45B!5u"
    "2iL4Z?$w0$5y_98u(SzwagxSSV$WQS3!E!*rs8D%LPatar0ZCSO33&rKYT}c)Jn|ZKWC!D+|TBiM`65V@z~_f%-8lp"
    "`6uF3$Kd<-)%1cWLZ&UJ0B$&r9c*5kaG&S2yL+aoku;UzM_O!DE)w1Z;hq5^d}H`+_-YdT&LT8_ewO3;WVIGNI;g<v"
    "x~96ZoF8$|)0$p-JdFk$pguZo@F*jgEpOny?NeOMcx4qgD^!7!O+!SUzoNKlAxYrn>|Qx_i!fc$F5nt!oxfl7^Ylb-"
    "m<lyutlpSaycZ-`hHN!;#Mp}G)Z73Sqcuoh6reN$u*}M!BHLfo*6<?>81AQt=y>T}l7vS{Qqj(d4mt}A)VIYU)z;bS"
    "5AN&AlL=RSMb0HWDIKh%BoXkwRvX36+!)m`YsYxhqM!^0>gIP~v!n<t@gJC6h~yElMl%JPxP4(g_y7O^zldk{ssGfO"
    "VRVpyDF9jk002Y)0009#&rxWkXn9>7H3<NufdBwyX=7n>E@N+PhbMm-M&uZI#_OZU7EgzEu*Z~%Kg))m>=5VGvQ&-R"
    "bRV_|)eX%O<E}-OQe?L#Jb-e!pV$}{Ia`m?N3hX3_h_fwMLz0{{F&?S>HyYM0002Lh-dbx|I}DrbdZ230Gt2-0Hg*0"
    "00YYHg8QUsd0ibf2mqvk003=oa%C=bcyx#1&b&AP00000#qs}Yyq0wto1-Kifn>=%l76H=4eklMIkBH*k?X4U!qD1Z"
    "wu!rPXcS=X2ELsNf``nXSv<N6`8m`unjD?1OxcW-D>DM@KdK?)vEFGTApWk=vqmiF5Irt*t|T**vlDDwE5uj!cpEf`"
    "m;ED0jkbVd^%%L0M&mAmjO_%nq>0o#ozsQ3hpYg<h-dbx|J1}idjLQO00"
)
PPMD_FULL = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000$rN;ekSPGS1ONcYuK)l8FxftRE@^pP9W?|1q=5hcZe?L|0I+^9IQ{_tdGB-0<P*7+"
    "zd@v!7z9HY@GpY<u05prYMu7j&CQPw{DV^m*Q`SB)r9sD$&a0|v<Y@`lEzVD&s>cQoGWss;$;0oMKTqn>sW|N$oMHg"
    "d`EcHO3dLuXQIR0&*qp%VZ3DV*yPU4*Y-mBC*oAc;QRO0^nxft*5h<2hCsB%A3WA7Sm;9NYxbPu2($KlFD1GLx#V{O"
    "=vo^@!w{gj%SR{Xp(T7#T&|17w<9b!%f+jRvW4wt{gbh2Cc#nO)_2Nsf57_vo#B+jK0Gn9cR2luoc?0VfJ}_v`L_5H"
    ";>aGScC3VPvHnA`RM^@}?Oq;Xj>zw8IlS<!xI)D}J*c4$e3ok)7hW^aSvoQ;q;M7BdWE9j1vf2hKZZh+{HJxKBlOyE"
    "8(~QET>*S>7y7cOSo2eaIG7~hbW7sNi~5`h>#8F(a3X7cAx~N6)oIuPCgj@J3gR6#cZ$np4!&PZi35oTuX%BYN~|c;"
    "(hPlIf)=HPjDk}<SCq+>9&6X!#_6E#efZCuc$8Rsh=F?|mzfN3ZgS_WQ8w_t9!RNzXKW4DSQazIt0e`FxWvGQr!@qQ"
    "5Ui9IoyDi;Ao@qjRoj48;GB8(U=?!WB9oX(q&a1<cO?F}GJg~YO332)JDB1?7M&{qQm*t1Z)1Cse&~nY>5x1otGzSm"
    ">Z1(P$uRQYP&Je<{8uZx-xef02JG%n8q3&;l*|)01ATpE0JIDdGs>q@v<mx{97CCjmmH!!i;(7@&#@h~t_{@$n_>$q"
    "KEqIyKkt%H#&f@`<@{*jgOY+-u|!ZcTi}IDKDP70Ka8=yD_b-`In>6oKfO_ywia=vZ2pdP5T#hIMZMRST>m$i7!kL~"
    "*dpAMCEbv{fLg`FCk!MBgn3knq<D<T>p@EMB(u|jsgdttvME4i8;yPgW$i<fgrk)_vR5~~i$VrGD?Do;(O_GyMfH`$"
    "i1PuzvjSNGyUwbD^}zG2EQ^h>H}^G8Q*_UZa$y@s$|VVlu}l@9qS^%GyC!>0IZkex^l(Y@=IC^25DFU*UksP^XWsI6"
    "pu%wPVh?64?Kb5{jKMe}K!KQ1bAb^IHe%b`sv3Roh!pLc^_WywwBUUIrubfIU|_CKFzy%Lx<-=_Sz>6QkCNH>N!PDF"
    "jPLUXxZvAbhV#3`yz|oR!LeFk@&f8NA_5*wWw?qcY_-&2$_2kRE&^q{CM-s>s&@KXX*Lb(r<RVObR<fMwD@6ZS8eQ~"
    "ra}@if;lB2jwOjpWwJ?e$u_nh-Ql0#@aCv{Dfw>K&Ch@m6+T90%#yShq}9+IzrQU#m%5bqVn|MR6O?sy+0-uECj8T("
    "b*N*jS^n_bbI2GT(QmU+EHhywF=A;m-vw6RaLPbTIJ18tBxI?uQKi_VqPGwi^D2Dm0Lp$P&Hul&=hdq___djlkh)mV"
    "`E}UK=RAUM*;{h^GW{iM#=k_CjtJ8^lcb>KSsw(Kq26<uI4R&ie<+MtcE~@_&_GPfwEw??%ZEYc)6Er^M7l({b7kv>"
    "0Hz@sA*T)F5k&#S8Vtc70I}l^w&jR<zl;j$7?L6J7XknP0KbT5_No8W#65ceKnDN"
)
CALLS = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000<Ue$PfF}Up1ONc44*&oI!FzVrq-c3v9Ww_2q=5hcaB^>Fa$#)<9aULO%gvn|wt8!A"
    "5U;>hqi8D_B9_+*Bhp^d^b);nmWvj-QE@quXo3hqt`uBORRj`_8G#iBjmF?cpwMtDhEmOi3R`DqWS#PMT1#xcfV}4Y"
    "Jl6Xq_%CGho^zY#{Tkl4zH`rv@AyMn58sd93G34tfCL{@n#+xVlmmlI1ONa4Xq^ZO$#y7Z%#d7?_!Nwasey@CD2N)Y"
    "m9PQ|wxBarff^)&8v!XFOMrZx9nTjppPiYwty|9J>$%yuGr^b9<MTdi9u=(bN4aZB3%W8yFXw5kr<*_G`{a=<$)x91"
    "v^;6IBGuO=vpw79pRAYjN|%n%TlqDgR(KUf!@)*O)YU6hUBS+hhd*v?Msjl%VJ~?i7A6XN9(lm#zUg2et3LBtGQZ4|"
    "`0>iMsfvI0RkS}mxIle}W!o$Gpg02Z%rRGaw@D8*{%Q;(xSz9bTzQ@ZS~Eqpi=DPNsh-rB)^B&>WkLr<zg(ms$D>D2"
    "{M9`|%iB_aJ1D<7YNWYfVjA<@d}gku%ijnEnyC&=H{Ml)r<f5fbA)+1i>sT0<82Kozbcfjfv8;X1FXwnM_E!LF>@ME"
    "mp1Ydryd@H?o?q5M{2lqHKj@70o@x(q{*hy^{Y{I35;9a-g4ma5z}dVwIj}gk!3r$kbczwqQJbBOsp58WTG)HqAGw^"
    "RjM@zYy|xP#9V=zY<AUqKW3BV%Ddh~@H`~2C)9cLN3p1p8E4{91DZx|B+y_Lp;vNX$)#TEI*%xZmrKaHj2BM+lvZb2"
    "6#la$8b}eqT~rtrF>W1CJI-}ZfKB`S;xhSBCt%E7*qFJ<-d-9inolYc%m6j2BqTstcxa;7AM<;Dy+~P9TjEEkeOA`P"
    "Qd0a`8irLF&|_`%=_IV4e}K8!VPEGLi*^T$v=(8{ALWFZdU|NNg(RudON2G3;T#K)98WI~9DFB{A_hEg)TCbuw^54k"
    "%qA0)0N~uQQnjIQwr36EHd>Zy!wW0~T@emni}ku}zQ-)Uqe9iWL3(v8>w@{ttIOp<{J9C`*)9C>6%Wyp2jUI|ya<>A"
    "LIO#pi=>u8n_FsbDwAUIG>ycCTa{WfLY}u%M`K{&5g}mCR+w5o8pZT!s>Ex~|CmUX(FUG64xbYqHy93G&5d*c1IY9A"
    "XmQK^SbQxZKVin(!G+q&0a*a)wrU_d(IL}9-7Z)*SspE!F|@+u6T~A_6v$o~uw;0+J(6Fx2C|)<i^sV3GdXFwxWqb~"
    "5U&gS>tTJtq^6~)8>OD@WS_@D%ER+!<rLdI?DM1mu{nm`=85hG#5dL6%r6aFrOD5w*@j|=G{L$r?Rj_}+@sQ&K!ErK"
    "KzMnh1$+QgV1Aa;n}pw@;hIV76>Q-z+p6|d^H;m1I-bL(=yZVvp?Xa%qj-}4uOw_(cQ3lxnHd`*&A<3w4vwwFd<5zq"
    "_;my?w?Z;G>?aHM-~43(v~4PI=_mWfyyUn@+&H1xx-kh2X_<f7DUb@kQKSRA0RxxsY|P|&uq?#QGky0<7|!SziHiUK"
    "O_Wph=Ic}#!-$ghEw^fkF8<D&bo`{Q3zV=OB%gy?E`?C|i>1#$im7q9@ml^ALD_zN)M}^FAoqm>=Nj|Ms+^8rcU*;("
    "1VI~m1Cm^6O0KZ?+H{bBDF8+Q002Y)0009#&rxWkXn9>7GYJ5sfdBwyX=7n>E@N+P_4nSc>elnquWQ-f`&P2MmwV*e"
    "_WZ9yA0J=%w{|S!*WzPjWY^*FJAVTkw`AGlS>kbWF|urTQyYV4)UmqV@UeJaUs=RGdjLQO00"
)
SOUND = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000bI){ufF%G+1^@ui2LJ#AGLlI1q-c3v9Ww<0q=5hcb8mHSWB|X2U)t&ayKR5~fxrNW"
    ">?459Aj<N&2H`S6I!TgPpaX0iA^=nXnh5St-2lvnVgZ<p(gQOQFec3)2D3*nXc!<26JX?fa}x=?Nd$B#UM&OTbo!7~"
    "&~}@dqnxuyI1JIv=aRv|VBVMuHxZgiz>5UfC=4B@<R${m#A1|iJ4wh)1)GS)EaE^RBq7wJ_aT}vBkCmv-RZ2-Lw5p%"
    "pc7=85<5^BH4t?H5CTvjs81*#^Kg_(BLLpTpm;P0n`F?*90;J!R7!|<C^Hp+5K4%G0WnrHMm1#<AXzhwrIThdMKL(h"
    "Tm%ovkjT9h4Z8P*>)y7~l#L}zL4+bPjaadGi~|P+!6OzX3M;#VqvIiigOej1+*Dd%NXW&JWLy!Eq$D2!@QV;3X>H;K"
    "3*UF$;d{E?y?For!gl+e-u_>M!{YLJeEHtbjSW3T7ks%m99(>kziThYneF>(*0M~F1nh2pS7*JQ@1gmlxY&nCzQUZI"
    "KR2P%%IReFI^Bu$^JnJzeI9PEPe&u2%*Eu+!@s?ZWG5A?|Nd!b`@LD5ehk?s4C=LYKJ-2wx#{sRWym~->?^dTEnoNV"
    "@uj1o^!exflTAEC@i}<7+8RGyKiBtKij|wPAjO?^CSC>?50ILbg59yoLhe=m4-1XTr?p+{f{;n4B$d_O=KA(l{`y?W"
    "lWJ9`Ql7;sTJo<8B$3C31Qy<L)|m(^?rrR;PUG)5<4c8I-P+rGDpc5k_pLhRiwv;9LIr>YRRwibJoq7877(LNAaV(Z"
    "5SWCPSw<LPrkr`Fo`xDJB$7!Z6(nMyk|>~p2cU7s8fk@=QBfigK;w)o!34Pp_$|?S>rXpr$6ax@+HIy;WGn@6gdki2"
    "06-80V5}9^VRhJHmYHtL&p;rfLxxdC8mhnuSY3vrMvopmXz_QT0L;tm%4hqWqyOdCU0ro`RaHqM4I0Z9Fk>?_Gcz%a"
    "0J7GN5R#=;bzNO`*IjkjU3GO`RZ5Z&(XC~GF^tU2%*@6NELmvKi6vE4U0q#u*E(~TIdZD1l0+IcmMk=Btu>alt!bk`"
    "B1&pPN>x?L<<4`Q=Q++?_z%TdOpDP#+rA%jpCvD+XwX4Xpd<vsvJwsqV}lsr=HzH#<l_D@&BV=QVHn^t3l|F_L}TM*"
    "0b(QIL1`taS$r7yL1n$?KJe@R{hQeA==Suq{518we$R*2y}#w?hC~>2a;ax?x;;LoeujRBSFP94?RPu6dY&qNPdB2b"
    "zRuUb<+;08dbMx1{fieZ*|}=fn?HLS_3Lj{-Q4)??QHAR^y_NV@%TIa?JZ81L!Zs&X41>a#^Ygd=19JNC0^kC+p%7+"
    "&u`taQ`@mq)#vi+=VtQhW@Y5$V`AdsVqs9Bfj)HU(&kE+8vZnh*YV@XktR&3b7sLm0)`J04~xg-QOM-wa<eGW$F*wb"
    "<M;aD{{OE+OlyuHM*1{)GbYZ0h775bX2Ap#?%jsz6eOcHDNACOwk?cXuDa`udM6s=TN7B;F^pRjwXD{q8K}(ugl7qv"
    "93*g=5g8E~5s?uQk(nBaN;MkRr7=uf7{;-YHYUXrkv!L2b=O{b*WP{PKKc-VLI6+*06>N~2#5%Xq!J>L5lAH<JRwR_"
    "B9wrn06+i%2t(lVAARS)@Bqxq?8;~RNJUZq_Yxq07%_~@*_$@aw#~NLfUsCtvddT&Ss4KYB$85;s#Qv=l~pR0DN0EZ"
    "1OU`((zJ+(K!AWif)ON=Q&Ug~A|#TOsZ^?!RZ6N=DpHb2h#&@|R+32&gdY#d)Q8o99rBwQ5>@Nt>)*e6eD}B-BO_kk"
    "roCZ%RBH_2=HxKP0gg6saIS8pz}Vqt*0z5J>`cxsFJ7f2DeroGCp5qQ=e3xV#X@w6m0(ui2>P+Yy_&acIBK0Oi&Kia"
    "H9!~7qdj_hJtE%zYA`eGLA3s%jR)rh9TXvhwGjhB4IqICfpUDH>-<@d3VRXy=Ufk6I6?6}(GJJAP-1%Tg!!z((rjQq"
    "^w0-n&jGFGWDU9J%)`D~BH_!z7mikn^s=}YZuxO7K2IvmX)u+cA_$w(HB}~%<xe5XR1|k|bECktfgP%1W1VDyuhPXd"
    "TOFfe*cNL_^~U~yw_S9QfGGev0000)00003JkL>Rq-c3v9Wx04q=5hcWoct!axP<UZGC>|23s{G%+^`PW`EXKCTHC<"
    "D6j8ri*m{(*$*C*lG>Koic`|^%XgIUhpp+M7{%ka0~Z&LF8@%(J$nE^2LJ"
)
PICTURE = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000dx>;_fF}Si0RRAS7XSbQ%+%!+q-c3v9Ww_2q=5hcaA{+7b#i3@zldMj>HoWFZ~%qe"
    "0m9edvbdl#NHV!J$+t;jfnJkv34j8$)d1whSvZk!%tk@*%!Gi<&LcA!h-PLpAPmt4W*M3x(*b5?hyj`?%)>K98Hq3!"
    "W@w-pqYTV5G+~(&0cK{537R0y6r>DH(FSP60HNkViJB<Q7@!C|k@*m-z)zVZ&@grrxLebY6`IW!fzCU2Nhb}!MMa1u"
    "ViOQaAYz`JGT;Od(Gb3jw$V6!WBmilFiD$tL<~{P$eubekYjLS`k{SLzNlYRFRB;S42RQP008s=%nZJagvLRP5$8mu"
    "<8^28OCp1VT^hZidqVbw?F-r$v^D%N06q8+j14}Fy+`l<tBF#R3zRn$prG*A#;<5z(7mC1LiUC24u1du4S)c@h-dbx"
    "|J1UxbdZ2407w7;07L))00TVFQD~%Sd0ibd2>_&l003oaV_|YGV{dH>#K^tW6*#gC7lFRmzhqqw2&^umDlR8?d+uw$"
    "ZEk8hFKO`3Pk*Z^KB~FS_w8a%Y(hxfpFQC@3sR1f1Ru~aEJaI&kgvqVJ$nE^2LJ"
)
TABLE = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000?ay?8fF%G00RRA?4*&oIJ!95tq-c3v9Ww<0q=5hcbYWs_WeJsC5X;rT*A|x4T3Xjf"
    "P>P#eg4s0Lu$l<CP1Z1qN*WRk2#p9RKw1z~8X6E$5PSilv8BDK9|L8LYSz%gNt~a?$>0znE0xUcUFp#2-ktIeec&7p"
    "eNK1|Wf}W2wXo;_LEr#LM@ztFkYGCr(hI^}n{@h+R@PBE1=l!RBvTWQ-M|7em*9J7r~Yc`Z{}a0GDx$(Q3m!668%BN"
    "vHzJLvzWgFt-brGy{imzum7n=W&C7P%P*;r|D)n@V&*H-da_53*)loz3NYW@DI#w1YzX`XKt$m#A&<sgBl?MVid?1S"
    "J-Lh2dGr^!?dmU)$<|+jhhbtcr1vWzY4{dsssO0RbdZ2405<>t07L))00TVFQD~%Sd0ibd2>_&l003oaV_|YGV{dJn"
    "8(D<sM{PSXc9S~YixD&P^qg|nMVDT2xotlKda@zpH4OvP9+$5BP&;uNlJ=vlGb=_`g;c~ndjLQO00"
)
LOCKED = _packed(
    "Qeko-8V3M7&~pd?4FCWD00000EjDz7ge?FN000000000300000q-c3v9Ww<0q=5hcWo>YDd0ggObk!W5TONHeY$ei!"
    "0<_9kyEHQ$#O8%`l!P$=FaiJo+ywvt1Ie`Ob);x{T^%zC0HlEc0C#V4WOFWbcywImTXfYNo?G+Q_?u3*>DIe4f<ye}"
    "sN&O99aTDaf`*<uG_-G?Y;+j+%gQR#SwjP$8a5$CQ|YqiFs&Oz8N?DmRv3fa4_}x!omq4?t_VYoV3yVNh63G<YQm{e"
    "10aO|Dt~qlGkEiAEz^X=>al1Sf7Q>pg-c*8web9KRhI1WkRg1=y@f$UUMxuNl;^)7d2>*sc9Hs-Nn5+NMtgGQt_C($"
    "8uRn6?yOEVF6kk?v{?S0)n}n?)Ut9YJEUp7kLu5m#4om=4op%BYC<yQ*%}A~8&KZVq*$yGrE0qzSKCe*^ffPTIOkS~"
    "+rtw|4n9teto!3~?L4*}ot!0YDpD!h;?vPJ3~$rtjs!5=>}9q`nji?(xFQ>PL3j&jnbDL=D*F^bnA{J;WL>0t0OtmJ"
    "hnz$D&wCywi%eCqvyKxSqZ-5r6FnpGV=>|7A@3qBZZB|PqF4)8eU~Lul9vsdFvVN!h&jFheRp-iJY5-V>)h^(lNTs$"
    "r*5mrfN?sZYe3In&_*RT!n*iY7pgaHRZVh$Fqsh1ePyfalfn@wL0YF`&uT{Xp+|V6a8mUeVb%J~ZaN9x0&nt@Ab)^z"
    "y|K)k8bLRr6ZzF>b1uU`ylO=5lfRjrqqc>Le7BELR~(@YvV)gzQ*j)%k`HAQP5>4rTs>q}xQ6&rJAgHY%Oy^K_!(1<"
    "zCVH1wTBS|_U%NxDKFO)n~Y5pK)4Khtj98^uG$kxD6BkJvg5zy6V4#!bd-cK08jt`07L))00TVFQD~%Sd0ibd2>_&l"
    "003oaV_|YGV{dI-=38{t9G+W5Yq(zcKSlp@r>2%!p$8OnB9V7<c~q8%tm*yA$Ns)?s2f3zoI^S8RNwyOrau$tBcJ?m"
    "#ehQz;hPlglx_{d&BLM6vdOL&f#=aOOfx>jJ$nE^2LJ"
)
HIDDEN = _packed(
    "Qeko-8V3M6*>i{h4FCWD00000v&S@E(*RaDgXj5MOd8`_NlMR0rxS0m_CybSVoLkOEBlC?N{jRsxQ3Id$V?GIjEz>1"
    "AAUxyHYPa$EI#?$+CUz)d!p0=v&S@E(*RaDyjwyOO)B|`67q?}3_{D%wsqKh{raUp$g0@GvD}tt-sbOf9VSg21j<K|"
    "7t=g}iOqmPkh4YIS9=L5A3iQC{?Ew1(H-`UuwOOb!xbTCEIKC3dPt^*0oiD*M3Y5Fy#~|70?MPcB~*JYlGZf;6yXl8"
    "p>1||%rN%Qs{k=5O~0s2!lhXS$uQlVXLiWero(|Zps_wP-$lxw0P{KTjKg4yfkR_0v|*V#270vNV99wuxgzInqb{F%"
    "pc^M&IU}|;W=?INptqJ8pMXRl!JwQL)`)_c(v<s7Zs<E&lNF6Ei2L_xoxnLbOu=ktI5QO5aBxw})o-^2j!O3@<ViS0"
    "N;WC-s8hjbVK7QC%T+HAtUNl&*!JC6bx(0>3%+I%nA*LhH!(=}^+ua+5;$!9JG+(b;CH-2MT(<4VqtoQ^L*Y_jfac4"
    "1J;eIbab&Ke@a-_E`CmImT-my6wkExK@%XgO~Nw<+=eS)8dSYT?*OTm`@q<wB}2z$9f8Ehj*GIF&7GW!4XiO=EB<=l"
    "uLf-iC4TA34qJM(kuK^C^z$;tG(2*(dvw7_vWs(x$c6}l1K)Vi>%2Xx#0Vx$R>8shx?d}m0TTTa=8)y}6imk5SMim)"
    "yl5xUXtM?E#3QqYRjw`2TzZ-#`McX@+!l$2yoEoou>gEfmfM+!Y{HbiB|Z0|_plXIzQ70Z{ifhANR*3?N;I7jqR)`x"
    "RO+4cMQnH|%IY-r@I@6MO3bp?a~$}ztLxOR>RgQ4n)CLl+cJey>6wYfu*sjB8#gOBr?9W1Szq=mCAr(V(jA9uVbB%l"
    "IRm8Dv&S@E(*RaDrUwUD>fQvwc}<*9dzQl>X-t&Dp*Z<WJgpr<ls8SVMp#+$`k(%ig-?)~8r)+)NOrAfM%~Re$#Th%"
    "WQ@b3Ut2hNfclY6i&27bwpf-h%?&Av{eqO*e2?M^`c0h);<J~3)r*b|N`y&?X*nW1Fhi{A_j?U!>7he=y}{&_)ex_w"
    "S@>~k2$1;khv&2dv&S@E(*RaDg98<H`!Q(qnlI!5TSM>b"
)

FILTERED = {
    "program": (CALLS, program()),
    "sound": (SOUND, sound()),
    "picture": (PICTURE, picture()),
    "table": (TABLE, table()),
}
"""The archive, and what is in front of ``eicar.com`` in it."""


def block(kind: int, flags: int, fields: bytes = b"") -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head


def member(
    name: str, content: bytes, packed: bytes, *, version: int = 29, method: int = 0x33,
    flags: int = 0, size: int | None = None,
) -> bytes:  # fmt: skip
    """One file, packed as it is said."""
    raw = name.encode()
    size = len(content) if size is None else size
    fields = struct.pack("<LLBLL", len(packed), size, 2, zlib.crc32(content), 0x50000000)
    fields += struct.pack("<BBHL", version, method, len(raw), 0x20) + raw
    return block(0x74, 0x8000 | flags, fields) + packed


def archive(*members: bytes, flags: int = 8) -> bytes:
    """Solid."""
    return MAGIC + block(0x73, flags, bytes(6)) + b"".join(members) + block(0x7B, 0x4000)


class Bits:
    """Written highest first."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def put(self, value: int, width: int) -> None:
        if width:
            self._parts.append(f"{value:0{width}b}")

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def bytes(self) -> bytes:
        text = self.text
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def _slots(widths: list[int]) -> list[tuple[int, int]]:
    """The lowest value of each, and the bits that are added."""
    return [(sum(1 << width for width in widths[:n]), widths[n]) for n in range(len(widths))]


_LENGTHS = _slots([0] * 8 + [width for width in range(1, 6) for _ in range(4)])
_FAR = [0, 0] + [width for width in range(16) for _ in range(2)]
_DISTANCES = _slots(_FAR + [16] * 14 + [18] * 12)


def codes(bits: Bits) -> None:
    """All symbols of each code in the same width: 9, 6, 5 and 5 bits."""
    bits.put(0, 2)
    for width in range(20):
        bits.put(2 if width in (0, 5, 6, 9) else 0, 4)
    for count, place in ((299, 3), (60, 2), (17, 1), (28, 1)):
        for _ in range(count):
            bits.put(place, 2)


def lz77(tokens: Iterable[Token], *, begins: bool = True) -> bytes:
    """``begins``: with codes."""
    bits = Bits()
    if begins:
        codes(bits)
    for token in tokens:
        if isinstance(token, int):
            bits.put(token, 9)
        elif token in ("end", "goes on"):
            bits.put(256, 9)
            bits.put(1 if token == "end" else 0, 2)
        elif isinstance(token, str):
            bits.put(int(token, 2), len(token))
        else:
            _match(bits, 271, *token)
    return bits.bytes()


def _match(bits: Bits, first: int, distance: int, length: int) -> None:
    """``first``: symbol of the shortest."""
    length -= 3 + (distance >= 0x2000) + (distance >= 0x40000)
    number = max(n for n, (base, _) in enumerate(_LENGTHS) if base <= length)
    bits.put(first + number, 9)
    bits.put(length - _LENGTHS[number][0], _LENGTHS[number][1])
    slot = max(n for n, (base, _) in enumerate(_DISTANCES) if base <= distance - 1)
    bits.put(slot, 6)
    rest, width = distance - 1 - _DISTANCES[slot][0], _DISTANCES[slot][1]
    if first == 270 or slot < 10:
        bits.put(rest, width)
    else:
        bits.put(rest >> 4, width - 4)
        bits.put(rest & 15, 5)


def with_filter(program: bytes, length: int) -> str:
    """The first use of one, for so many bytes from here."""
    inner = Bits()
    inner.put(0, 6)
    inner.put(3, 2)
    inner.put(length, 32)
    inner.put(0, 2)
    inner.put(len(program), 4)
    for value in program:
        inner.put(value, 8)
    raw = inner.bytes().ljust(7, b"\0")
    bits = Bits()
    bits.put(257, 9)
    bits.put(0x20 | 6, 8)
    bits.put(len(raw) - 7, 8)
    for value in raw:
        bits.put(value, 8)
    return bits.text


def codes20(bits: Bits, channels: int = 0) -> None:
    """Of RAR 2.0, again with the same width for all: of LZ77, or of so many channels."""
    bits.put(2 if channels else 0, 2)
    if channels:
        bits.put(channels - 1, 2)
    for width in range(19):
        bits.put(2 if width in (0, 5, 6, 9) else 0, 4)
    for count, place in ((257, 3),) * channels or ((298, 3), (48, 2), (28, 1)):
        for _ in range(count):
            bits.put(place, 2)


def lz20(tokens: Iterable[Token20], *, begins: bool = True) -> bytes:
    """``begins``: with codes."""
    bits = Bits()
    if begins:
        codes20(bits)
    for token in tokens:
        if isinstance(token, int):
            bits.put(token, 9)
        elif token == "again":
            bits.put(256, 9)
        elif token == "codes":
            bits.put(269, 9)
            codes20(bits)
        else:
            match token:
                case "recent", which, length:
                    bits.put(257 + which, 9)
                    bits.put(length - 2, 5)
                case "short", _, distance:
                    bits.put(261, 9)
                    bits.put(distance - 1, 2)
                case int(distance), int(length):
                    _match(bits, 270, distance, length)
                case _:
                    raise AssertionError(token)
    return bits.bytes()


def sound20(size: int, channels: int) -> bytes:
    """Any differences, in two blocks."""
    choose = random.Random(channels)
    bits = Bits()
    for count in (size // 2, size - size // 2):
        codes20(bits, channels)
        for _ in range(count):
            bits.put(choose.choice((0, 1, 2, 3, 4, 250, 253, 254, 255)), 9)
        if count == size // 2:
            bits.put(256, 9)
    return bits.bytes()
