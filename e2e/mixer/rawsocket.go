package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// rawMouth sends raw frames.
type rawMouth struct {
	fd     int
	plan   Plan
	own    net.HardwareAddr
	kinds  []rawKind
	number uint64
}

func newRawMouth(p Plan) (*rawMouth, error) {
	i, err := net.InterfaceByName(p.On)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	m := &rawMouth{fd: fd, plan: p, own: i.HardwareAddr, kinds: rawKinds()}
	return m, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: i.Index})
}

// send sends five kinds of each round.
func (m *rawMouth) send(l letters, round int, b *book) error {
	for i := range 5 {
		kind := (round*5 + i) % len(m.kinds)
		d := &dice{plan: m.plan, own: m.own, l: l, state: m.number*0x9e3779b97f4a7c15 + 1, kind: kind, number: m.number}
		m.number++
		f := m.kinds[kind].make(d)
		switch _, err := unix.SendmsgN(m.fd, f, nil, nil, unix.MSG_DONTWAIT); {
		case err == nil:
			b.sent(m.kinds[kind].name, 1)
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS): // full, as anything may be
		default:
			return fmt.Errorf("cannot send %q of %d bytes: %w", m.kinds[kind].name, len(f), err)
		}
	}
	return nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// rawEar hears raw frames.
type rawEar struct {
	fd       int
	stopping atomic.Bool
	done     sync.WaitGroup
}

func newRawEar(p Plan, b *book) (*rawEar, error) {
	i, err := net.InterfaceByName(p.On)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	program, err := bpf.Assemble(onlyRaw())
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, r := range program {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) // a smaller one only loses more
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		// A network card of QEMU lets tagged frames in only where somebody listens to everything.
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: i.Index}),
	)
	e := &rawEar{fd: fd}
	if err == nil {
		e.done.Go(func() { e.hear(p.PeerMAC, b) })
	}
	return e, err
}

// onlyRaw lets in what may be a raw frame of ours: the kernel has taken the outermost tag out.
func onlyRaw() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: rawType, SkipTrue: 9},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ether.TypeVLAN), SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ether.TypeIPv4), SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ether.TypeIPv6), SkipTrue: 5},
		bpf.LoadAbsolute{Off: 14 + 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x20010002, SkipTrue: 4, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 14 + 12, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xfffe0000},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 198<<24 | 18<<16, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18},
	}
}

func (e *rawEar) hear(peer net.HardwareAddr, b *book) {
	kinds := rawKinds()
	buf, oob := make([]byte, 1<<17), make([]byte, 256)
	for !e.stopping.Load() {
		n, control, flags, _, err := unix.Recvmsg(e.fd, buf[ether.TagLen:], oob, 0)
		if err != nil || flags&unix.MSG_TRUNC != 0 || n < ether.HeaderLen {
			continue
		}
		f := restore(buf[:ether.TagLen+n], oob[:control])
		if !bytes.Equal(f[6:12], peer) {
			continue // others use the EtherType too: loop probes
		}
		kind, number, err := sealed(f)
		if err != nil {
			b.wrong(kinds[kind].name, "%v", err)
			continue
		}
		b.good(kinds[kind].name, number, len(f))
	}
}

// restore puts the tag back that the kernel took out; the frame begins behind room for it.
func restore(b, oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return b[ether.TagLen:]
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data) // struct tpacket_auxdata
		if status&unix.TP_STATUS_VLAN_VALID == 0 {
			break
		}
		copy(b, b[ether.TagLen:ether.TagLen+12])
		kind := ether.TypeVLAN
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			kind = binary.NativeEndian.Uint16(m.Data[18:])
		}
		binary.BigEndian.PutUint16(b[12:], kind)
		binary.BigEndian.PutUint16(b[14:], binary.NativeEndian.Uint16(m.Data[16:]))
		return b
	}
	return b[ether.TagLen:]
}

func (e *rawEar) stop() {
	e.stopping.Store(true)
	e.done.Wait()
	_ = unix.Close(e.fd)
}
