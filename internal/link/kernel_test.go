package link

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

// sockets opens a sender and a receiver on loopback.
func sockets(t *testing.T, k Kernel) (from, to *udpSocket) {
	t.Helper()
	var open []*udpSocket
	for range 2 {
		group, err := k.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { group[0].Close() })
		open = append(open, group[0].(*udpSocket))
	}
	return open[0], open[1]
}

// collect reads until all of want has come and returns the datagrams' sizes.
func collect(t *testing.T, s *udpSocket, want []byte) (sizes []int) {
	t.Helper()
	bufs := [][]byte{make([]byte, readSize), make([]byte, readSize)}
	n, segs, from := make([]int, 2), make([]int, 2), make([]netip.AddrPort, 2)
	var got []byte
	for len(got) < len(want) {
		count, err := s.ReadBatch(bufs, n, segs, from)
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			got = append(got, bufs[i][:n[i]]...)
			for rest, seg := n[i], segs[i]; rest > 0; rest -= seg {
				if seg == 0 {
					seg = rest
				}
				sizes = append(sizes, min(seg, rest))
			}
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes arrived changed")
	}
	return sizes
}

func TestSegmentsArriveAsDatagrams(t *testing.T) {
	for _, k := range []Kernel{{}, {NoGSO: true}, {NoGRO: true}, {NoGSO: true, NoGRO: true}} {
		from, to := sockets(t, k)
		want := bytes.Repeat([]byte("0123456789"), 1000)
		if err := from.WriteSegments(to.LocalAddr(), want, 1200); err != nil {
			t.Fatal(err)
		}
		sizes := collect(t, to, want)
		if len(sizes) != 9 || sizes[0] != 1200 || sizes[8] != 400 {
			t.Errorf("%+v: datagrams of %v bytes", k, sizes)
		}
	}
}

func TestRefusedBatchIsReplayed(t *testing.T) {
	from, to := sockets(t, Kernel{})
	if !from.gso.on.Load() {
		t.Skip("this kernel has no UDP_SEGMENT")
	}
	want := bytes.Repeat([]byte("x"), 200) // 200 segments: more than any kernel takes in one call
	if err := from.WriteSegments(to.LocalAddr(), want, 1); err != nil {
		t.Fatal(err)
	}
	if sizes := collect(t, to, want); len(sizes) != 200 {
		t.Errorf("%d datagrams arrived", len(sizes))
	}
	if on, why := from.GSO(); on || why == "" {
		t.Errorf("the refused offload is on: %v, %q", on, why)
	}
	from.SetGSO(true)
	if on, why := from.GSO(); !on || why != "" {
		t.Errorf("after it was switched on: %v, %q", on, why)
	}
}

// TestDatagramsThatWaitSurviveGROBeingSwitchedOff: the kernel hands over what it had put together without the size.
func TestDatagramsThatWaitSurviveGROBeingSwitchedOff(t *testing.T) {
	from, to := sockets(t, Kernel{})
	if on, _ := to.GRO(); !on {
		t.Skip("this kernel has no UDP_GRO")
	}
	var want []byte
	for i := range 5 {
		d := bytes.Repeat([]byte{byte(i)}, 300)
		header{kind: dgramRecords, lane: 1, link: 77, counter: uint64(254 + i)}.put(d)
		want = append(want, d...)
	}
	want = want[:len(want)-100]
	if err := from.WriteSegments(to.LocalAddr(), want, 300); err != nil {
		t.Fatal(err)
	}
	to.SetGRO(false)
	if on, why := to.GRO(); on || why != whySwitched {
		t.Errorf("GRO is on: %v, %q", on, why)
	}
	if sizes := collect(t, to, want); len(sizes) != 5 || sizes[0] != 300 || sizes[4] != 200 {
		t.Errorf("datagrams of %v bytes", sizes)
	}
	to.SetGRO(true)
	if on, why := to.GRO(); !on || why != "" {
		t.Errorf("GRO is off after it was switched on: %q", why)
	}
}

func TestADatagramAloneIsNotCut(t *testing.T) {
	d := make([]byte, 400)
	header{kind: dgramRecords, lane: 1, link: 77, counter: 5}.put(d)
	for _, b := range [][]byte{d, d[:10], nil, append([]byte{0x40}, d...)} {
		if n := togetherSize(b); n != 0 {
			t.Errorf("%d bytes are cut at %d", len(b), n)
		}
	}
}

func TestCloseWakesTheReader(t *testing.T) {
	_, s := sockets(t, Kernel{})
	ended := make(chan error)
	go func() {
		_, err := s.ReadBatch([][]byte{make([]byte, 10)}, make([]int, 1), make([]int, 1), make([]netip.AddrPort, 1))
		ended <- err
	}()
	s.Close()
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("the reader got %v", err)
	}
	if err := s.WriteSegments(s.LocalAddr(), []byte("x"), 1); err != net.ErrClosed {
		t.Errorf("a late writer got %v", err)
	}
}
