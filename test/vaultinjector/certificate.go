package vaultinjector

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"time"
)

// Certificate is a serving certificate with what verifies it.
type Certificate struct {
	Pair     tls.Certificate
	CABundle []byte // PEM
}

// NewCertificate makes a self-signed serving certificate for names and addresses. It is
// valid from 2000 to 2100: a stand-in has no use for an expiry, and none for a clock.
func NewCertificate(hosts ...string) (*Certificate, error) {
	if len(hosts) == 0 {
		return nil, errors.New("make serving certificate: no host given")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make serving key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	wanted := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "agent-injector"},
		NotBefore:             time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2100, time.January, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, host := range hosts {
		if address, err := netip.ParseAddr(host); err == nil {
			wanted.IPAddresses = append(wanted.IPAddresses, address.AsSlice())
		} else if !slices.Contains(wanted.DNSNames, host) {
			wanted.DNSNames = append(wanted.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, wanted, wanted, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign serving certificate: %w", err)
	}
	return &Certificate{
		Pair:     tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}, nil
}

// ServiceNames are the hosts under which an API server may call the injector in
// namespace: the names of its Service, and loopback. An unknown prefix has none.
func (i Injector) ServiceNames(namespace string) []string {
	p, err := i.product()
	if err != nil {
		return nil
	}
	service := p.injectorService()
	return []string{
		service + "." + namespace + ".svc",
		service + "." + namespace + ".svc.cluster.local",
		service + "." + namespace,
		service,
		"localhost", "127.0.0.1", "::1",
	}
}
