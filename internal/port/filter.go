package port

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	// acceptAll is more bytes than any frame has: what a filter returns to keep a frame whole.
	acceptAll = 1 << 18
	// maxProgram is how many instructions the kernel takes (BPF_MAXINSNS).
	maxProgram = 4096
	// filterTags is how many tags in the bytes of a frame the filter looks through; the kernel has usually taken
	// the outermost out already.
	filterTags = 2

	protoTCP, protoUDP = 6, 17 // IANA protocol numbers
)

// The filter's scratch memory.
const (
	srcPort = iota
	dstPort
	srcAddr // IPv4
	dstAddr
	baseAt // of the IP header
)

// underlayFilter returns a classic BPF program that drops TCP and UDP from or to any of the given endpoints,
// IPv4 and IPv6, tagged or not, and accepts all else. Frames of our own links must not enter the overlay they
// carry. Later fragments carry no ports and pass; our own datagrams are never fragmented.
func underlayFilter(ours []netip.AddrPort) ([]bpf.Instruction, error) {
	var v4, v6 []netip.AddrPort
	for _, at := range ours {
		if addr := at.Addr().Unmap(); addr.Is4() {
			v4 = append(v4, netip.AddrPortFrom(addr, at.Port()))
		} else {
			v6 = append(v6, at)
		}
	}
	four, six := filterIPv4(v4), filterIPv6(v6)
	program := filterTagged()
	// Here A is the type behind the tags and X the offset of the payload.
	program = append(program,
		bpf.StoreScratch{Src: bpf.RegX, N: baseAt},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ether.TypeIPv4), SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ether.TypeIPv6), SkipTrue: 1},
		bpf.RetConstant{Val: acceptAll},
		bpf.Jump{Skip: uint32(len(four))},
	)
	program = append(append(program, four...), six...)
	if len(program) > maxProgram {
		return nil, fmt.Errorf("cannot filter %d underlay endpoints out of a LAN: the program of %d instructions is longer than %d", len(ours), len(program), maxProgram)
	}
	return program, nil
}

// filterTagged loads the type into A and the offset of the payload into X.
func filterTagged() []bpf.Instruction {
	program := []bpf.Instruction{
		bpf.LoadConstant{Dst: bpf.RegX, Val: ether.HeaderLen},
		bpf.LoadAbsolute{Off: ether.HeaderLen - 2, Size: 2},
	}
	for range filterTags {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ether.TypeVLAN), SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ether.TypeQinQ), SkipTrue: 4},
			bpf.TXA{},
			bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: ether.TagLen},
			bpf.TAX{},
			bpf.LoadIndirect{Off: tagTypeBack, Size: 2},
		)
	}
	return program
}

// tagTypeBack is -2 for an instruction whose offset is unsigned: the type stands right in front of the payload.
const tagTypeBack = 1<<32 - 2

// loadPorts loads both ports, X being the offset of the transport header.
func loadPorts() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadIndirect{Off: 0, Size: 2}, bpf.StoreScratch{Src: bpf.RegA, N: srcPort},
		bpf.LoadIndirect{Off: 2, Size: 2}, bpf.StoreScratch{Src: bpf.RegA, N: dstPort},
	}
}

// onlyPorted accepts whatever the protocol in A has no ports.
func onlyPorted() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipTrue: 1},
		bpf.RetConstant{Val: acceptAll},
	}
}

func filterIPv4(ours []netip.AddrPort) []bpf.Instruction {
	program := append([]bpf.Instruction{bpf.LoadIndirect{Off: 9, Size: 1}}, onlyPorted()...)
	program = append(program,
		bpf.LoadIndirect{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x1fff, SkipTrue: 1}, // fragment offset
		bpf.RetConstant{Val: acceptAll},
		bpf.LoadIndirect{Off: 12, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: srcAddr},
		bpf.LoadIndirect{Off: 16, Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: dstAddr},
		bpf.LoadIndirect{Off: 0, Size: 1}, // header length, in words
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
	)
	program = append(program, loadPorts()...)
	for _, at := range ours {
		addr := at.Addr().As4()
		for _, side := range [2][2]int{{srcPort, srcAddr}, {dstPort, dstAddr}} {
			program = append(program,
				bpf.LoadScratch{Dst: bpf.RegA, N: side[0]},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(at.Port()), SkipTrue: 3},
				bpf.LoadScratch{Dst: bpf.RegA, N: side[1]},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(addr[:]), SkipTrue: 1},
				bpf.RetConstant{Val: 0},
			)
		}
	}
	return append(program, bpf.RetConstant{Val: acceptAll})
}

func filterIPv6(ours []netip.AddrPort) []bpf.Instruction {
	program := append([]bpf.Instruction{bpf.LoadIndirect{Off: 6, Size: 1}}, onlyPorted()...)
	program = append(program, bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{})
	program = append(program, loadPorts()...)
	program = append(program, bpf.LoadScratch{Dst: bpf.RegX, N: baseAt})
	for _, at := range ours {
		addr := at.Addr().As16()
		for _, side := range [2][2]int{{srcPort, 8}, {dstPort, 24}} {
			program = append(program,
				bpf.LoadScratch{Dst: bpf.RegA, N: side[0]},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(at.Port()), SkipTrue: 9},
			)
			for word := range 4 {
				program = append(program,
					bpf.LoadIndirect{Off: uint32(side[1] + 4*word), Size: 4},
					bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(addr[4*word:]), SkipTrue: uint8(7 - 2*word)},
				)
			}
			program = append(program, bpf.RetConstant{Val: 0})
		}
	}
	return append(program, bpf.RetConstant{Val: acceptAll})
}
