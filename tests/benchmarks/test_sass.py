"""Machine code read back: loops, and the ways through them, on code known by hand."""

from __future__ import annotations

import pytest

from benchmarks import sass

# A kernel with a loop for copies in front, and a main loop with a smaller one for copies inside.
CODE = """
	.headerflags	@"EF_CUDA_SM90"
.text.probe:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDGSTS.E.BYPASS.128 [R3], [R4.64] ;
        /*0020*/              @!P1 BRA `(.L_x_0) ;
.L_x_1:
        /*0030*/                   LDGDEPBAR ;
        /*0040*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_2:
        /*0050*/                   LDGSTS.E.BYPASS.128 [R3], [R4.64] ;
        /*0060*/               @P2 BRA `(.L_x_2) ;
        /*0070*/              @!P0 BRA `(.L_x_3) ;
        /*0080*/                   LDSM.16.M88.4 R4, [R8] ;
.L_x_3:
        /*0090*/                   LDS R5, [R8+0x10] ;
        /*00a0*/                   HMMA.16816.F32.BF16 R12, R4, R6, R12 ;
        /*00b0*/                   HMMA.16816.F32.BF16 R16, R4, R7, R16 ;
        /*00c0*/                   IADD3 R2, R2, 0x1, RZ ;
        /*00d0*/              @!P3 BRA `(.L_x_1) ;
        /*00e0*/                   STG.E [R2.64], R12 ;
        /*00f0*/                   EXIT ;
.L_x_4:
        /*0100*/                   BRA `(.L_x_4);
        /*0110*/                   NOP;
"""


def test_main_loop_of_known_code() -> None:
    loop = sass.main_loop(CODE, "probe")
    assert loop.inner == 2
    assert loop.classes == {"wait": 2, "branch": 2, "ldsm": 1, "lds": 1, "mma": 2, "other": 1}
    assert loop.instructions == 9


def test_without_a_loop_the_whole_kernel_counts() -> None:
    lines = [line for line in CODE.splitlines() if "BRA" not in line]
    loop = sass.main_loop("\n".join(lines), "probe")
    assert loop.instructions == 13
    assert loop.classes["mma"] == 2
    with pytest.raises(sass.DisassemblerError, match="no matrix products"):
        sass.main_loop("\n".join(line for line in lines if "HMMA" not in line), "probe")


def test_without_the_disassembler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sass, "disassembler", lambda: None)
    with pytest.raises(sass.DisassemblerError, match=r"pip install -e '\.\[gate\]'"):
        sass.disassemble(b"")


# An epilogue: a bias that may not be there, stores of two numbers or of one, and a loop for what is not finite.
STORES = """
.text.other:
        /*0000*/                   EXIT ;
.text.stores:
        /*0000*/                   IADD3 R2, R2, 0x1, RZ ;
        /*0010*/              @!P2 BRA `(.L_x_1) ;
        /*0020*/                   LDG.E R5, desc[UR4][R2.64] ;
        /*0030*/                   FADD.FTZ R4, R4, R5 ;
.L_x_1:
        /*0040*/                   BSSY B0, `(.L_x_3) ;
        /*0050*/               @P0 BRA `(.L_x_2) ;
        /*0060*/               @P1 STG.E desc[UR4][R2.64], R4 ;
        /*0070*/              @!P1 STG.E.64 desc[UR4][R2.64], R4 ;
.L_x_2:
        /*0080*/                   BSYNC B0 ;
.L_x_3:
        /*0090*/              @!P4 EXIT ;
.L_x_4:
        /*00a0*/                   FFMA.FTZ R4, R5, R6, R4 ;
        /*00b0*/               @P5 BRA `(.L_x_4) ;
        /*00c0*/                   STG.E desc[UR4][R2.64], R4 ;
        /*00d0*/                   EXIT ;
"""


def test_the_way_through_an_epilogue_takes_the_wide_stores_and_no_bias() -> None:
    code = sass.parse(STORES, "stores")
    assert len(code.instructions) == 14
    assert code.loops == ((10, 12),)
    assert sass.taken(code, 0, None, lambda name: name.endswith(".64")) == 8
    assert sass.taken(code, 0, None, lambda _: False) == 6  # the shortest: past the stores
    assert sass.taken(code, 0, 10, lambda name: name.endswith(".64")) == 8
    assert sass.taken(code, 0, None, lambda name: name.startswith("FFMA")) == 10  # past the stores, through the loop
    assert sass.taken(code, 0, None, lambda name: name.endswith(".64"), free=range(4, 8)) == 4
    with pytest.raises(sass.DisassemblerError, match="no way"):
        sass.taken(code, 12, 11, lambda _: True)
    with pytest.raises(sass.DisassemblerError, match="no code of absent"):
        sass.parse(STORES, "absent")


def test_ends_and_turns_of_known_code() -> None:
    loop = sass.main_loop(CODE, "probe")
    assert loop.code == 18
    assert loop.before == 3  # with one copy of the loop in front
    assert loop.turn == 8  # past LDSM; the loop of copies inside does not count
    assert loop.behind == 2
    assert loop.copy == 2


STREAM = """
.text.add:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0020*/                   LDG.E.128 R8, desc[UR4][R3.64] ;
        /*0030*/                   FADD.FTZ R4, R4, R8 ;
        /*0040*/                   STG.E.128 desc[UR4][R2.64], R4 ;
        /*0050*/               @P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0060*/                   LDG.E R4, desc[UR4][R2.64] ;
        /*0070*/                   STG.E.U16 desc[UR4][R2.64], R4 ;
        /*0080*/               @P0 BRA `(.L_x_1) ;
        /*0090*/                   EXIT ;
"""


def test_instructions_a_byte_are_those_of_the_best_loop() -> None:
    assert sass.instructions_a_byte(STREAM, "add") == pytest.approx(5 / (48 * 32))
    scalar = STREAM.replace(".128", "")
    assert sass.instructions_a_byte(scalar, "add") == pytest.approx(5 / (12 * 32))
    mixed = "\n".join(line for line in STREAM.splitlines() if ".128" not in line)
    assert sass.instructions_a_byte(mixed, "add") == pytest.approx(3 / (6 * 32))
    with pytest.raises(sass.DisassemblerError, match="accesses no memory"):
        sass.instructions_a_byte("\n".join(line for line in STREAM.splitlines() if "G.E" not in line), "add")
