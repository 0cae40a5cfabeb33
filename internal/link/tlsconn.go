package link

import (
	"bufio"
	"encoding/binary"
	"net"
)

// readAhead is how much is read at once of a stream whose frames TLS seals: TLS by itself asks for one record, 16 KiB.
const readAhead = 128 << 10

// tlsConn is the TCP connection under TLS. While it is careful, TLS gets one record at a time: what follows the last one that
// is TLS's own, sealed blocks, is not taken by it.
type tlsConn struct {
	net.Conn
	careful bool
	head    [blockHead]byte // of the present record
	got     int             // bytes of head
	left    int             // bytes of the record behind its head
	ahead   *bufio.Reader   // nil: nothing is read ahead
}

func (c *tlsConn) Read(b []byte) (int, error) {
	switch {
	case !c.careful && c.ahead == nil:
		return c.Conn.Read(b)
	case !c.careful:
		return c.ahead.Read(b)
	case c.left > 0:
		n, err := c.Conn.Read(b[:min(len(b), c.left)])
		c.left -= n
		return n, err
	}
	n, err := c.Conn.Read(b[:min(len(b), blockHead-c.got)])
	copy(c.head[c.got:], b[:n])
	if c.got += n; c.got == blockHead {
		c.got, c.left = 0, int(binary.BigEndian.Uint16(c.head[3:]))
	}
	return n, err
}

// below is the connection under one of TLS's; nil where it has none of ours.
func below(conn net.Conn) *tlsConn {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		c, _ := t.NetConn().(*tlsConn)
		return c
	}
	return nil
}

// tlsAlone lets TLS read as it likes: all that follows is its own.
func tlsAlone(conn net.Conn) {
	if c := below(conn); c != nil {
		c.careful = false
	}
}
