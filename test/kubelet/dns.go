package kubelet

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsPort is where pods ask for names.
const dnsPort = 53

// serveNames answers on the node's machine that there is no such name, whatever pods ask for: a cluster's DNS in which nobody has
// a name. An error would be another answer.
func (k *Kubelet) serveNames(ctx context.Context) error {
	var socket net.PacketConn
	if err := k.machine.Do(func() (err error) {
		var config net.ListenConfig
		socket, err = config.ListenPacket(ctx, "udp", fmt.Sprintf("%s:%d", k.machine.Addr(), dnsPort))
		return err
	}); err != nil {
		return fmt.Errorf("answer for names: %w", err)
	}
	k.stops = append(k.stops, func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := noSuchName(buffer[:n]); err == nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	}()
	return nil
}

func noSuchName(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionDesired: m.RecursionDesired, RCode: dnsmessage.RCodeNameError},
		Questions: m.Questions,
	}
	return answer.Pack()
}
