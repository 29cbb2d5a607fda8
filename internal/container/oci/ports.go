package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/container"
)

// ports are a container's published ports: listeners of ours, from which connections are carried in.
type ports struct {
	bound  []container.Port
	closer []io.Closer
	ctx    context.Context // ends with the container
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// publish opens the ports of the Spec. Within the host's network nothing is mapped.
func (p *Prepared) publish() (_ *ports, err error) {
	ps := &ports{}
	ps.ctx, ps.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			ps.close()
		}
	}()
	for _, port := range p.spec.Ports {
		if p.spec.Network.Mode == "host" {
			port.Host = port.Container
			ps.bound = append(ps.bound, port)
			continue
		}
		if port.HostIP == "" {
			port.HostIP = "127.0.0.1"
		}
		on := net.JoinHostPort(port.HostIP, strconv.Itoa(port.Host))
		var at net.Addr
		if port.Protocol == "udp" {
			at, err = ps.packets(on, p.net, port.Container)
		} else {
			at, err = ps.connections(on, p.net, port.Container)
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("publish port %d of a container: taken by another program on this machine; choose another host port", port.Host)
		}
		if err != nil {
			return nil, fmt.Errorf("publish port %d of a container: %w", port.Container, err)
		}
		host, err := netip.ParseAddrPort(at.String())
		if err != nil {
			return nil, err
		}
		port.Host = int(host.Port())
		ps.bound = append(ps.bound, port)
	}
	return ps, nil
}

func (ps *ports) close() {
	ps.cancel()
	for _, c := range ps.closer {
		c.Close()
	}
	ps.wg.Wait()
}

func (ps *ports) connections(on string, to *network, port int) (net.Addr, error) {
	l, err := net.Listen("tcp", on)
	if err != nil {
		return nil, err
	}
	ps.closer = append(ps.closer, l)
	ps.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if ps.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
					return
				}
				time.Sleep(10 * time.Millisecond) // no file left, perhaps
				continue
			}
			ps.wg.Go(func() { ps.carry(c.(*net.TCPConn), to, port) })
		}
	})
	return l.Addr(), nil
}

// carry copies a connection both ways until both sides have ended.
func (ps *ports) carry(c *net.TCPConn, in *network, port int) {
	defer c.Close()
	var d net.Dialer
	to, err := net.Conn(nil), errUnwired
	if in.wired.Load() { // else the address is a stranger's
		to, err = d.DialContext(ps.ctx, "tcp", in.at(port).String())
	}
	if err != nil {
		_ = c.SetLinger(0) // refused, as the container would
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ps.ctx, func() { c.Close(); to.Close() })
	defer stop()
	var wg sync.WaitGroup
	for _, pair := range [][2]*net.TCPConn{{c, to.(*net.TCPConn)}, {to.(*net.TCPConn), c}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // either side's error ends the connection
			_ = pair[0].CloseWrite()
		})
	}
	wg.Wait()
}

var errUnwired = errors.New("the container is not connected to the network")

// at is where a port of the container is.
func (n *network) at(port int) netip.AddrPort { return netip.AddrPortFrom(n.inside, uint16(port)) }

// packetIdle is how long answers to a peer are waited for.
const packetIdle = 2 * time.Minute

// packets carries datagrams: each peer has a socket of its own, so that answers find back.
func (ps *ports) packets(on string, in *network, port int) (net.Addr, error) {
	l, err := net.ListenPacket("udp", on)
	if err != nil {
		return nil, err
	}
	ps.closer = append(ps.closer, l)
	ps.wg.Go(func() {
		var mu sync.Mutex
		peers := map[string]*net.UDPConn{}
		buf := make([]byte, 64<<10)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			to := peers[from.String()]
			if to == nil && len(peers) < 1024 && in.wired.Load() {
				if to, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(in.at(port))); err == nil {
					peers[from.String()] = to
					stop := context.AfterFunc(ps.ctx, func() { to.Close() })
					ps.wg.Go(func() {
						defer stop()
						answers(l, to, from)
						mu.Lock()
						delete(peers, from.String())
						mu.Unlock()
					})
				}
			}
			mu.Unlock()
			if to != nil {
				_, _ = to.Write(buf[:n]) // datagrams may be lost
			}
		}
	})
	return l.LocalAddr(), nil
}

func answers(l net.PacketConn, from *net.UDPConn, peer net.Addr) {
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(packetIdle))
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		_, _ = l.WriteTo(buf[:n], peer)
	}
}
