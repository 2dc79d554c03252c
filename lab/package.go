// The filter package as a host sees it: fetched over HTTPS under the trust that the caller names, and
// unpacked: a VIB is an ar archive with a descriptor, a signature slot and a payload.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

const (
	packageBytesMax  = 256 << 20
	fetchTimeout     = 60 * time.Second
	arMagic          = "!<arch>\n"
	arHeaderBytes    = 60
	descriptorMember = "descriptor.xml"
	programMember    = "bin/replicator"
)

// packageContents is what a host needs of the package.
type packageContents struct {
	info    types.IoFilterInfo
	program []byte
}

// fetchPackage downloads the package; without a trust policy the usual roots decide.
func fetchPackage(address string, trust types.BaseIoFilterManagerSslTrust) ([]byte, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "https" {
		return nil, refuse(&types.InvalidArgument{InvalidProperty: "vibUrl"}, "'%s' is no https URL", address)
	}
	config, err := trustConfig(trust)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: fetchTimeout, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Get(address)
	if err != nil {
		return nil, fmt.Errorf("the package cannot be fetched: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the package cannot be fetched: %s", response.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, packageBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("the package cannot be fetched: %w", err)
	}
	if len(raw) > packageBytesMax {
		return nil, errors.New("the package is larger than a host accepts")
	}
	return raw, nil
}

// trustConfig turns the trust policy into TLS settings.
func trustConfig(trust types.BaseIoFilterManagerSslTrust) (*tls.Config, error) {
	switch policy := trust.(type) {
	case nil:
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	case *types.UntrustedCertificate:
		return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, nil
	case *types.PinnedCertificate:
		block, _ := pem.Decode([]byte(policy.SslCertificate))
		if block == nil {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "vibSslTrust"}, "The pinned certificate is not PEM")
		}
		pinned, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "vibSslTrust"}, "The pinned certificate cannot be read")
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
			return checkPinned(state.PeerCertificates, pinned)
		}}, nil
	}
	return nil, refuse(&types.InvalidArgument{InvalidProperty: "vibSslTrust"}, "The trust policy is not known")
}

// checkPinned accepts the pinned certificate itself, or one that it has issued.
func checkPinned(chain []*x509.Certificate, pinned *x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the server shows no certificate")
	}
	if chain[0].Equal(pinned) {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(pinned)
	for _, certificate := range chain[1:] {
		between.AddCert(certificate)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		return errors.New("the server's certificate is not the pinned one")
	}
	return nil
}

// vibDescriptor is the part of the descriptor that names the package.
type vibDescriptor struct {
	Name        string `xml:"name"`
	Version     string `xml:"version"`
	Vendor      string `xml:"vendor"`
	Summary     string `xml:"summary"`
	ReleaseDate string `xml:"release-date"`
}

// openPackage reads the archive and takes out descriptor and program.
func openPackage(raw []byte) (packageContents, error) {
	members, err := arMembers(raw)
	if err != nil {
		return packageContents{}, err
	}
	var descriptor vibDescriptor
	if err := xml.Unmarshal(members[descriptorMember], &descriptor); err != nil || descriptor.Name == "" {
		return packageContents{}, errors.New("the package has no readable descriptor")
	}
	if _, signed := members["sig.pkcs7"]; !signed {
		return packageContents{}, errors.New("the package has no signature slot")
	}
	for name, member := range members {
		if !strings.HasSuffix(name, ".tgz") {
			continue
		}
		program, err := tarMember(member, programMember)
		if err != nil {
			return packageContents{}, err
		}
		return packageContents{program: program, info: types.IoFilterInfo{
			Id:   fmt.Sprintf("%s_bootbank_%s_%s", descriptor.Vendor, descriptor.Name, descriptor.Version),
			Name: descriptor.Name, Vendor: descriptor.Vendor, Version: descriptor.Version,
			Type: string(types.IoFilterTypeReplication), Summary: descriptor.Summary, ReleaseDate: descriptor.ReleaseDate,
		}}, nil
	}
	return packageContents{}, errors.New("the package has no payload")
}

// arMembers reads a whole ar archive.
func arMembers(raw []byte) (map[string][]byte, error) {
	rest, ok := bytes.CutPrefix(raw, []byte(arMagic))
	if !ok {
		return nil, errors.New("the package is no VIB")
	}
	members := map[string][]byte{}
	for len(rest) >= arHeaderBytes {
		header := rest[:arHeaderBytes]
		rest = rest[arHeaderBytes:]
		size, err := strconv.Atoi(strings.TrimSpace(string(header[48:58])))
		if err != nil || size < 0 || size > len(rest) {
			return nil, errors.New("the package is damaged")
		}
		name := strings.TrimSuffix(strings.TrimSpace(string(header[:16])), "/")
		members[name] = rest[:size]
		rest = rest[min(size+size%2, len(rest)):]
	}
	return members, nil
}

func tarMember(raw []byte, wanted string) ([]byte, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("the payload cannot be unpacked: %w", err)
	}
	archive := tar.NewReader(unpacked)
	for {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("the payload lacks %s", wanted)
		}
		if path.Clean("/"+header.Name) == "/"+wanted {
			return io.ReadAll(io.LimitReader(archive, packageBytesMax))
		}
	}
}
