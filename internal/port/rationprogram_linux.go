package port

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// insn is an instruction of eBPF (struct bpf_insn), and code many of them: see Linux, Documentation/bpf/standardization/instruction-set.rst.
type insn struct {
	op   uint8
	regs uint8 // destination, and source times 16
	off  int16
	imm  int32
}

// Where things are in what the program is given (struct __sk_buff) and in a tally.
const (
	skbLen      = 0
	skbQueue    = 12
	skbVLAN     = 20 // whether a tag lies beside the frame
	skbSegments = 164

	atInBytes    = int16(unsafe.Offsetof(tally{}.inBytes))
	atInPackets  = int16(unsafe.Offsetof(tally{}.inPackets))
	atTurned     = int16(unsafe.Offsetof(tally{}.turned))
	atOutBytes   = int16(unsafe.Offsetof(tally{}.outBytes))
	atOutPackets = int16(unsafe.Offsetof(tally{}.outPackets))
	atMaxBytes   = int16(unsafe.Offsetof(tally{}.maxBytes))
	atMaxPackets = int16(unsafe.Offsetof(tally{}.maxPackets))
)

// Registers: r0 is what a call or the program returns, r1 and r2 what a call is given, r6 to r9 are kept by it, r10 is the end of the stack.
const (
	r0     = 0
	r1     = 1
	r2     = 2
	skb    = 6
	length = 7
	mine   = 8 // the tally of the queue
	stack  = 10

	lookUp = 1 // BPF_FUNC_map_lookup_elem
)

func ins(op, dst, src uint8, off int16, imm int32) insn {
	return insn{op: op, regs: dst | src<<4, off: off, imm: imm}
}

func load32(dst, from uint8, off int16) insn {
	return ins(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_W, dst, from, off, 0)
}

func load64(dst, from uint8, off int16) insn {
	return ins(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_DW, dst, from, off, 0)
}

func move(dst, src uint8) insn { return ins(unix.BPF_ALU64|unix.BPF_MOV|unix.BPF_X, dst, src, 0, 0) }

// set gives a register a number of 32 bits.
func set(dst uint8, imm int32) insn { return ins(unix.BPF_ALU|unix.BPF_MOV, dst, 0, 0, imm) }

// addTo adds a register to memory at once, whoever else does so.
func addTo(at uint8, off int16, src uint8) insn {
	return ins(unix.BPF_STX|unix.BPF_ATOMIC|unix.BPF_DW, at, src, off, unix.BPF_ADD)
}

func exit() insn { return ins(unix.BPF_JMP|unix.BPF_EXIT, 0, 0, 0, 0) }

// rationProgram lets a frame into a queue, or turns it away, as tally.admits says: the kernel runs it for each frame that it wants to queue for
// us, and takes 0 for no. A sender in the kernel that does not wait in a queue of its own (openTAP makes it so) is told at once; its TCP
// sends later, and nothing was lost.
func rationProgram(tallies int) []insn {
	const jump = unix.BPF_JMP
	return []insn{
		move(skb, r1),
		load32(length, skb, skbLen), // length = that of what is read, with the tag put in
		load32(r1, skb, skbVLAN),
		ins(jump|unix.BPF_JEQ, r1, 0, 1, 0),
		ins(unix.BPF_ALU64|unix.BPF_ADD, length, 0, 0, ether.TagLen),

		load32(r2, skb, skbQueue), // mine = the tally of this queue
		ins(unix.BPF_STX|unix.BPF_MEM|unix.BPF_W, stack, r2, -4, 0),
		ins(unix.BPF_LD|unix.BPF_IMM|unix.BPF_DW, r1, unix.BPF_PSEUDO_MAP_FD, 0, int32(tallies)),
		{}, // the upper half of that number
		move(r2, stack),
		ins(unix.BPF_ALU64|unix.BPF_ADD, r2, 0, 0, -4),
		ins(jump|unix.BPF_CALL, 0, 0, 0, lookUp),
		ins(jump|unix.BPF_JNE, r0, 0, 2, 0), // a queue that nobody counts takes all
		set(r0, -1),
		exit(),
		move(mine, r0),

		load64(r1, mine, atInPackets), // packets
		load64(r2, mine, atOutPackets),
		ins(unix.BPF_ALU64|unix.BPF_SUB|unix.BPF_X, r1, r2, 0, 0),
		load64(r2, mine, atMaxPackets),
		ins(jump|unix.BPF_JSGE|unix.BPF_X, r1, r2, 11, 0),

		ins(jump|unix.BPF_JLE, length, 0, 5, longFrame), // bytes
		load64(r1, mine, atInBytes),
		load64(r2, mine, atOutBytes),
		ins(unix.BPF_ALU64|unix.BPF_SUB|unix.BPF_X, r1, r2, 0, 0),
		load64(r2, mine, atMaxBytes),
		ins(jump|unix.BPF_JSGE|unix.BPF_X, r1, r2, 5, 0),

		addTo(mine, atInBytes, length), // it may
		set(r1, 1),
		addTo(mine, atInPackets, r1),
		set(r0, -1),
		exit(),

		load32(r1, skb, skbSegments), // it may not
		ins(jump|unix.BPF_JNE, r1, 0, 1, 0),
		set(r1, 1),
		addTo(mine, atTurned, r1),
		set(r0, 0),
		exit(),
	}
}

// What bpf(2) is given: the beginnings of union bpf_attr, as far as they are used.
type (
	mapAttr     struct{ kind, keySize, valueSize, entries, flags uint32 }
	programAttr struct {
		kind, count   uint32
		code, license uint64
	}
)

func command[A mapAttr | programAttr](number uintptr, a *A) (fd int, err error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, number, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// loadRation has the kernel check a program for this many queues, and returns its descriptor and the memory it shares with us.
func loadRation(queues int) (program int, shared []byte, err error) {
	const size = unsafe.Sizeof(tally{})
	tallies, err := command(unix.BPF_MAP_CREATE, &mapAttr{
		kind: unix.BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: uint32(size), entries: uint32(queues), flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		return -1, nil, fmt.Errorf("bpf: %w", err)
	}
	defer unix.Close(tallies) // the program and the mapping keep it
	page := unix.Getpagesize()
	shared, err = unix.Mmap(tallies, 0, (queues*int(size)+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return -1, nil, fmt.Errorf("bpf: mmap: %w", err)
	}
	program, err = loadProgram(unix.BPF_PROG_TYPE_SOCKET_FILTER, rationProgram(tallies))
	if err != nil {
		_ = unix.Munmap(shared)
		return -1, nil, err
	}
	return program, shared, nil
}

// loadProgram has the kernel check a program of a kind and keep it for as long as its descriptor, or what it is attached to, lives.
func loadProgram(kind uint32, code []insn) (fd int, err error) {
	license := []byte("GPL\x00")
	var pin runtime.Pinner // the kernel is given where they lie as numbers
	defer pin.Unpin()
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	a := &programAttr{kind: kind, count: uint32(len(code))}
	a.code, a.license = uint64(uintptr(unsafe.Pointer(&code[0]))), uint64(uintptr(unsafe.Pointer(&license[0])))
	if fd, err = command(unix.BPF_PROG_LOAD, a); err != nil {
		return -1, fmt.Errorf("bpf: %w", err)
	}
	return fd, nil
}
