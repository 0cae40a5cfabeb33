package port

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// auxLen is room for the one control message the kernel sends beside a frame: struct tpacket_auxdata.
const auxLen = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.TpacketAuxdata{}))

// received is one message from a packet socket.
type received struct {
	n     int
	flags int32
	aux   unix.TpacketAuxdata
}

// receiveMessage reads one message into b.
func receiveMessage(fd int, b []byte) (received, unix.Errno) {
	var control struct {
		header unix.Cmsghdr
		aux    unix.TpacketAuxdata
		_      [8]byte // alignment
	}
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	message := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&control))}
	message.SetControllen(int(unsafe.Sizeof(control)))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), 0)
	r := received{n: int(n), flags: message.Flags}
	if errno == 0 && int(message.Controllen) >= auxLen && control.header.Level == unix.SOL_PACKET && control.header.Type == unix.PACKET_AUXDATA {
		r.aux = control.aux
	}
	return r, errno
}

// receive reads one packet from the socket.
func (l *LAN) receive(k *queue, b *Batch) error {
	marksLen := 0
	if l.vnet {
		marksLen = ether.OffloadLen
	}
	space := b.space()
	r, errno := receiveMessage(k.fd, space[frameAt-marksLen:])
	switch errno {
	case 0:
	case unix.EAGAIN:
		if k.idle && !l.device.is(l.index) {
			return ErrGone
		}
		return errno
	case unix.EINTR:
		return errno
	case unix.ENETDOWN: // it may come up again, or be deleted
		return nil
	default:
		return meaning(errno)
	}
	if r.n < marksLen+ether.HeaderLen {
		return nil
	}
	var p ether.Packet
	if l.vnet {
		// Cannot fail: the length was looked at.
		p.Offload, _ = ether.ParseOffload(space[frameAt-marksLen:])
	}
	end := frameAt + r.n - marksLen
	if !l.worth(&p, r, space[frameAt:end]) {
		return nil
	}
	start := frameAt
	if r.aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		start = restoreTag(space, r.aux, &p)
	}
	p.Frame = space[start:end:end]
	b.take(p, end)
	return nil
}

// worth reports whether a frame may enter the overlay. One that was cut off may not; nor one longer than the MTU
// without marks that say how to cut it, nor one with an unfinished checksum that nothing marks.
func (l *LAN) worth(p *ether.Packet, r received, f ether.Frame) bool {
	switch {
	case r.flags&unix.MSG_TRUNC != 0:
		l.outlet.drops.add(dropLong, 1)
		return false
	case !p.Offload.Segmented() && !l.outlet.fits(f, len(f)):
		l.outlet.drops.add(dropLong, 1)
		return false
	case !l.vnet && r.aux.Status&unix.TP_STATUS_CSUMNOTREADY != 0:
		l.outlet.drops.add(dropMarks, 1)
		return false
	}
	return true
}

// restoreTag puts the 802.1Q tag, which the kernel has taken out, back into the frame at frameAt: the addresses
// move to the front, over the marks, and the marks' offsets grow. It returns where the frame starts now.
func restoreTag(space []byte, aux unix.TpacketAuxdata, p *ether.Packet) int {
	const addresses = ether.HeaderLen - 2
	start := frameAt - ether.TagLen
	copy(space[start:start+addresses], space[frameAt:])
	kind := ether.TypeVLAN
	if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		kind = aux.Vlan_tpid
	}
	binary.BigEndian.PutUint16(space[start+addresses:], kind)
	binary.BigEndian.PutUint16(space[start+addresses+2:], aux.Vlan_tci)
	if p.Offload.Partial() {
		p.Offload.CsumStart += ether.TagLen
	}
	if p.Offload.HdrLen > 0 {
		p.Offload.HdrLen += ether.TagLen
	}
	return start
}
