package detect

import (
	"slices"
	"strings"
)

// The variables that choose a provider.
const (
	varType        = "SECRET_MANAGER_TYPE"
	varPath        = "SECRET_MANAGER_PATH"
	varPrefix      = "SECRET_MANAGER_PREFIX"
	varVault       = "VAULT_ADDR"
	varVaultAgent  = "VAULT_AGENT_ADDR"
	varVaultToken  = "VAULT_TOKEN"
	varVaultFile   = "VAULT_TOKEN_FILE"
	varAWSPrefix   = "AWS_SECRET_PREFIX"
	varRegion      = "AWS_REGION"
	varRegionElse  = "AWS_DEFAULT_REGION"
	varCredentials = "CREDENTIALS_DIRECTORY"
)

// The providers of this package.
const (
	provEnv   = "env"
	provFile  = "file"
	provVault = "vault"
	provAWS   = "aws"

	auto = "auto" // the value of SECRET_MANAGER_TYPE with which the other variables decide
)

// vaultVariables returns the names of variables with which package vault gets a token or finds its secrets.
func vaultVariables() []string {
	return []string{varVaultToken, varVaultFile, "VAULT_AUTH_METHOD", "VAULT_ROLE", "VAULT_ROLE_ID", "VAULT_MOUNT"}
}

func builtin() []string { return []string{provEnv, provFile, provVault, provAWS} }

// chosenType returns the provider in SECRET_MANAGER_TYPE, or "" if the other variables decide.
func (c *config) chosenType() (name string, isAuto bool) {
	switch name = strings.ToLower(strings.TrimSpace(c.get(varType))); name {
	case auto:
		return "", true
	default:
		return name, false
	}
}

// typed reports whether SECRET_MANAGER_TYPE decides.
func (c *config) typed() bool {
	name, _ := c.chosenType()
	return name != ""
}

// signals returns all signals in order of precedence. The first that counts decides.
func (c *config) signals(directory Signal) []Signal {
	all := c.typeSignals()
	for _, s := range []Signal{
		{Name: varVaultAgent, Provider: provVault},
		{Name: varVault, Provider: provVault},
		{Name: varAWSPrefix, Provider: provAWS},
		{Name: varPath, Provider: provFile},
		{Name: varPrefix, Provider: provEnv},
	} {
		if value, set := c.variable(s.Name); set {
			s.Value, s.counts = shown(value), true
			if s.Provider == provVault {
				s.Value = shownAddress(value)
			}
			all = append(all, s)
		}
	}
	regions, credentials := c.regionSignals(), c.credentials()
	if len(regions) > 0 && len(credentials) > 0 {
		all = append(all, regions...)
		for _, name := range credentials {
			all = append(all, Signal{Name: name, Provider: provAWS, byPlatform: true, counts: true})
		}
	}
	if directory.Name != "" {
		all = append(all, directory)
	}
	if len(credentials) == 0 {
		all = append(all, regions...)
	}
	return slices.Concat(all, c.partial(), c.empty())
}

func (c *config) typeSignals() []Signal {
	switch name, isAuto := c.chosenType(); {
	case isAuto:
		return []Signal{{Name: varType, Value: auto, Note: "leaves the choice to the rest"}}
	case name != "":
		return []Signal{{Name: varType, Provider: name, counts: true}}
	default:
		return nil
	}
}

func (c *config) regionSignals() []Signal {
	var signals []Signal
	for _, name := range []string{varRegion, varRegionElse} {
		if value, set := c.variable(name); set {
			signals = append(signals, Signal{Name: name, Value: shown(value), Provider: provAWS, byPlatform: true, counts: true})
		}
	}
	return signals
}

// partial returns the variables that have no effect unless another one is set.
func (c *config) partial() []Signal {
	var signals []Signal
	if c.region() == "" {
		for _, name := range c.credentials() {
			signals = append(signals, Signal{Name: name, Provider: provAWS, Note: "no effect without " + varRegion})
		}
	}
	if c.get(varVault) == "" && c.get(varVaultAgent) == "" {
		for _, name := range vaultVariables() {
			if c.get(name) != "" {
				signals = append(signals, Signal{Name: name, Provider: provVault, Note: "no effect without " + varVault})
			}
		}
	}
	return signals
}

// empty returns the variables that would choose a provider but are blank: a template may have had no value for them.
func (c *config) empty() []Signal {
	var signals []Signal
	for _, of := range [][2]string{
		{varType, ""}, {varVaultAgent, provVault}, {varVault, provVault}, {varAWSPrefix, provAWS}, {varPath, provFile}, {varPrefix, provEnv},
		{varCredentials, provFile},
	} {
		if _, set := c.lookup(of[0]); set && c.get(of[0]) == "" {
			signals = append(signals, Signal{Name: of[0], Provider: of[1], Note: "empty, which counts as not set"})
		}
	}
	return signals
}

// region returns the region from the variables, in the order of the SDK, or "".
func (c *config) region() string {
	if region := c.get(varRegion); region != "" {
		return region
	}
	return c.get(varRegionElse)
}

// credentials returns the names of the variables that are a source of AWS credentials.
func (c *config) credentials() []string {
	const keyID, secretKey = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY" //nolint:gosec // names
	var names []string
	if c.get(keyID) != "" && c.get(secretKey) != "" {
		names = append(names, keyID+" and "+secretKey)
	}
	for _, name := range []string{
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_PROFILE",
	} {
		if c.get(name) != "" {
			names = append(names, name)
		}
	}
	return names
}

// decide returns the Detection for signals: the provider, and why no other. place names the inspected directory in messages.
func (c *config) decide(signals []Signal, place string, s dirState) Detection {
	d := Detection{Signals: signals, Provider: provEnv}
	decider := slices.IndexFunc(signals, func(s Signal) bool { return s.counts })
	if decider < 0 {
		d.Reason = byDefault(place, s)
	} else {
		d.Provider, d.Reason = signals[decider].Provider, c.reason(signals[decider], place)
	}
	if !slices.Contains(c.known(), d.Provider) {
		d.Provider, d.Reason = "", varType+" names an unknown provider"
	}
	for i := range d.Signals {
		signal := &d.Signals[i]
		signal.Used = signal.counts && d.Provider != "" && signal.Provider == d.Provider
		switch {
		case signal.Note != "":
		case i == decider && d.Provider == "":
			signal.Provider, signal.Note = "", "names an unknown provider"
		case i == decider:
			signal.Note = "decides"
		case signal.Used:
			signal.Note = "agrees"
		default:
			signal.Note = signals[decider].Name + " comes first"
		}
	}
	for _, provider := range c.known() {
		if provider != d.Provider {
			d.Others = append(d.Others, Other{Provider: provider, Reason: c.whyNot(provider, d, decider, place+" "+s.what)})
		}
	}
	return d
}

// undecided returns the Detection for a case in which no provider can be chosen.
func (c *config) undecided(signals []Signal, reason string) Detection {
	d := Detection{Signals: signals, Reason: reason}
	for i := range signals {
		signals[i].Used = false
	}
	for _, provider := range c.known() {
		d.Others = append(d.Others, Other{Provider: provider, Reason: reason})
	}
	return d
}

// byDefault returns the reason for env as the default. It mentions an entry of the directory that may have been meant to decide.
func byDefault(place string, s dirState) string {
	reason := "nothing points to a provider, and env is the default"
	if s.odd {
		reason += ", although " + place + " " + s.what
	}
	return reason
}

// reason returns the reason for a choice that s decides.
func (c *config) reason(s Signal, place string) string {
	set := s.Name + " is set"
	if s.Value != "" {
		set += " (" + s.Value + ")"
	}
	switch {
	case s.Name == varType:
		return varType + " says " + s.Provider
	case s.Provider == provFile && s.byPlatform:
		return place + " holds a file"
	case s.Provider == provAWS && s.byPlatform:
		if credentials := c.credentials(); len(credentials) > 0 {
			return set + ", with " + credentials[0]
		}
		return set + ", and nothing points elsewhere"
	default:
		return set
	}
}

// whyNot returns why provider was not chosen. decider is the index of the signal that decides, or negative.
func (c *config) whyNot(provider string, d Detection, decider int, directory string) string {
	first := slices.IndexFunc(d.Signals, func(s Signal) bool { return s.Provider == provider && s.counts })
	switch {
	case d.Provider == "":
		return varType + " does not name it"
	case first >= 0:
		return d.Signals[decider].Name + " comes before " + d.Signals[first].Name
	case decider >= 0 && d.Signals[decider].Name == varType:
		return d.Reason
	}
	switch provider {
	case provEnv:
		return varPrefix + " is not set, and " + d.Signals[decider].Name + " comes before the default"
	case provFile:
		return varPath + " is not set, and " + directory
	case provVault:
		return "neither " + varVault + " nor " + varVaultAgent + " is set"
	case provAWS:
		return "none of " + varAWSPrefix + ", " + varRegion + " and " + varRegionElse + " is set"
	default:
		return varType + " does not name it"
	}
}

// rivals returns the signals that contradict the one that decided: all that a person has set for another provider. If a platform set the
// one that decided, those that platforms set count too.
func (d Detection) rivals() []Signal {
	decider := slices.IndexFunc(d.Signals, func(s Signal) bool { return s.counts })
	if decider < 0 || d.Signals[decider].Name == varType {
		return nil
	}
	return slices.DeleteFunc(d.Ignored(), func(s Signal) bool { return s.byPlatform && !d.Signals[decider].byPlatform })
}
