package rtmp

import (
	"crypto/tls"
	"net"
)

// Skip reads what comes into buf without looking into it, and returns how many bytes it was: for a load of viewers that
// must cost next to nothing. After Play; Read must not be used any more, the end of the stream shows as io.EOF when
// the server closes, and pings are not answered.
func (c *Client) Skip(buf []byte) (int, error) {
	n, err := c.in.r.Read(buf)
	if err != nil {
		return n, err
	}
	if c.window > 0 && c.input.n-c.acked >= c.window {
		c.acked = c.input.n
		err = c.send(func(dst []byte) []byte { return appendControl(dst, TypeAck, uint32(c.input.n)) })
	}
	return n, err
}

// BytesRead returns how many bytes came, with everything that the protocol adds. It belongs to the goroutine that reads.
func (c *Client) BytesRead() uint64 { return c.input.n }

// Reset ends the connection with a TCP reset, as a network that breaks does. It is Close otherwise.
func (c *Client) Reset() error {
	var err error
	c.closeOnce.Do(func() {
		conn := c.transport()
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetLinger(0)
		}
		if failed := conn.Close(); err == nil {
			err = failed
		}
	})
	return err
}

// CloseWrite ends the direction to the server and leaves the other one open, as encoders do that exit without a word.
// Done is closed when the server has closed too.
func (c *Client) CloseWrite() error {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// transport is the connection below TLS.
func (c *Client) transport() net.Conn {
	if t, ok := c.conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c.conn
}
