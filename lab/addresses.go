// Where everything listens: one page of loopback addresses per lab, so that several labs run at once.
package main

import (
	"fmt"
	"regexp"
	"strconv"
)

const (
	sourceSite      = "source"
	destinationSite = "destination"
	vcenterPort     = 8443
	hostPort        = 32873
	receiverPort    = 32875
	shadowsMax      = 60
	hostsPerCluster = 2
)

// network is the lab's page of loopback addresses, 127.N.
type network string

func parseNetwork(text string) (network, error) {
	match := regexp.MustCompile(`^127\.(\d{1,3})$`).FindStringSubmatch(text)
	if match == nil {
		return "", fmt.Errorf("--net must look like 127.80, not %q", text)
	}
	if n, _ := strconv.Atoi(match[1]); n > 255 {
		return "", fmt.Errorf("--net %s: the second number is at most 255", text)
	}
	return network(text), nil
}

func (n network) address(third, fourth int) string {
	return fmt.Sprintf("%s.%d.%d", n, third, fourth)
}

func siteNumber(site string) int {
	if site == sourceSite {
		return 1
	}
	return 2
}

// vcenter is where a site's vCenter listens.
func (n network) vcenter(site string) string {
	return fmt.Sprintf("%s:%d", n.address(siteNumber(site), 1), vcenterPort)
}

// vcenterSeen is the address the product is told: the destination stands behind the WAN.
func (n network) vcenterSeen(site string) string {
	if site == sourceSite {
		return n.vcenter(site)
	}
	return fmt.Sprintf("%s:%d", n.address(102, 1), vcenterPort)
}

// host is the management address of a site's k-th host, counted from 0.
func (n network) host(site string, k int) string {
	return n.address(siteNumber(site), 11+k)
}

// guest is the address of a site's k-th ordinary virtual machine.
func (n network) guest(site string, k int) string {
	return n.address(2+siteNumber(site), k)
}

// shadow is where the receiver of a site's k-th shadow VM listens.
func (n network) shadow(site string, k int) string {
	return n.address(7-siteNumber(site), k)
}

// shadowSeen is the address a shadow VM reports: its end of the WAN.
func (n network) shadowSeen(site string, k int) string {
	return n.address(107-siteNumber(site), k)
}
