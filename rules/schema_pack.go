package rules

import "strings"

// legRE matches a leg in the form of the reference tables, like parseLeg.
func legRE() string {
	words := `(dcerpc|http|nmf|smb)\[[^\], ]+(,[^\], ]+)*\]|tls\[([^\], .]+|[^\], ]*\.[^\], ]*(,[^\], ]+)*)\]|[^ \[A-Z]+`
	return "(" + rangeRE + "|dynamic/" + protoRE + "|" + ipRE + ")( (" + words + "))?( (" + strings.Join(legFlags, "|") + "))*"
}

func portSchema() *schema {
	return pattern(rangeRE + "( dynamic)?|dynamic/" + protoRE + "|" + ipRE).describe("The server's port: 25/tcp, 5075-5077/tcp, dynamic/tcp, 6005-59530/tcp dynamic, -/esp.")
}

// factsSchema returns the schema of a mapping of attributes, or of a list of such
// mappings.
func factsSchema(description string) *schema {
	facts := func() *schema { return &schema{Type: "object", MinProps: 1, Additional: textOrList()} }
	return &schema{AnyOf: []*schema{facts(), {Type: "array", Items: facts(), MinItems: 1}}, Description: description}
}

// matchKeys returns the schemas of the keys of a match.
func matchKeys() map[string]*schema {
	return map[string]*schema{
		"port":     portSchema(),
		"protocol": pattern(`[^A-Z]*[^A-Z\s][^A-Z]*`).describe("The protocol that is read there, in lower case: smtp, dcerpc, tls."),
		"inside":   anyText().describe("What TLS carries."),
		"facts":    factsSchema("Attributes, of each of which the flow must have one of the values."),
		"either":   factsSchema("Attributes, of which the flow must have one."),
		"without":  factsSchema("Attributes of which the flow must have none of the values."),
	}
}

// legsSchema returns the schema of a list of legs and names of leg sets.
func legsSchema() *schema {
	keys := matchKeys()
	keys["leg"] = pattern(legRE()).describe("The leg in the form of the reference tables: PORT/PROTOCOL [protocol[details]] [flags].")
	keys["reverse"] = flagSchema().describe("The server side opens the connection.")
	keys["content_only"] = flagSchema().describe("The content must have been read.")
	keys["auth"] = oneOf(NotApplicable).describe("The column on authentication does not hold for this leg.")
	keys["encryption"] = oneOf(NotApplicable).describe("The column on encryption does not hold for this leg.")
	keys["max_confidence"] = oneOf(capWords...).describe("The most that a match can say.")
	keys["group"] = anyText().describe("The group of rows that tie on this leg.")
	keys["site_port"] = oneOf(sitePortWords...).describe("The setting of the site file that replaces the port.")
	leg := object(keys)
	leg.AnyOf = []*schema{{Required: []string{"port"}}, {Required: []string{"leg"}}}
	leg.If = &schema{
		Properties: map[string]*schema{"port": {Pattern: "dynamic"}}, Required: []string{"port"}, Not: &schema{Required: []string{"leg"}},
	}
	leg.Then = &schema{AnyOf: []*schema{{Required: []string{"protocol"}}, {Required: []string{"facts"}}}}
	return &schema{
		Type: "array", Items: &schema{AnyOf: []*schema{pattern(legRE() + "|[^/]+"), leg}},
		Description: "The connections: legs, and names of leg sets.",
	}
}

func notEmpty(s *schema) *schema {
	s.MinItems = 1
	return s
}

func confidenceSchema() *schema {
	return oneOf(confidenceWords...).describe("How far to trust ports and ends.")
}

func sourceSchema() *schema {
	return textOrList().describe("The documents: keys of documents, or texts.")
}

func pathSchema() *schema {
	conditions := object(map[string]*schema{
		"not_from":     someOf(roleList(ofServer)...).describe("Roles that \"any\" in from leaves out."),
		"not_to":       someOf(roleList(ofServer)...).describe("Roles that \"any\" in to leaves out."),
		"no_pipe":      flagSchema().describe("SMB is for files: a named pipe does not fit."),
		"names_decide": flagSchema().describe("A flow fits only if it shows one of the names or paths of its leg."),
		"http_methods": alternatives().describe("The HTTP methods of which a request must have one."),
		"unannounced":  oneOf("undetermined").describe("A flow at a high port that nothing announced is at most undetermined."),
	})
	conditions.MinProps = 1
	return object(map[string]*schema{
		"id":             anyText().describe("The row's id, which begins with the version."),
		"name":           anyText().describe("The row's name for people."),
		"table":          anyText().describe("The table of the reference. not-used: the reference says that Exchange does not use it."),
		"group":          anyText().describe("The set of rows that no packet can tell apart."),
		"from":           someOf(roleList(ofPath)...).describe("Roles of the client."),
		"to":             someOf(roleList(ofPath)...).describe("Roles of the server."),
		"one_end":        someOf(roleList(ofServer)...).describe("Roles of which one end must have one."),
		"external":       flagSchema().describe("The client may be on the internet."),
		"local":          flagSchema().describe("The path is documented on the host itself alone."),
		"conditions":     conditions.describe("What narrows the path further."),
		"ports":          anyText().describe("The legs as the reference prints them, if that is not how they are matched."),
		"default_auth":   someOf(authWords...).describe("The reference's column on default authentication."),
		"supported_auth": someOf(authWords...).describe("The reference's column on supported authentication."),
		"encryption":     someOf(encryptionWords...).describe("The reference's column on encryption."),
		"by_default":     oneOf(byDefaultWords...).describe("Whether the path is encrypted by default."),
		"note":           anyText().describe("The reference's note."),
		"source":         sourceSchema(),
		"confidence":     confidenceSchema(),
		"firewall_rules": textOrList().describe("The Windows Firewall rules of Exchange setup that admit it."),
		"legs":           notEmpty(legsSchema()),
		"max_confidence": oneOf(capWords...).describe("The most that a match of any leg can say unless the endpoint was announced."),
	})
}

func evidenceSchema(proves bool) *schema {
	match := object(matchKeys())
	match.AnyOf = []*schema{{Required: []string{"protocol"}}, {Required: []string{"facts"}}, {Required: []string{"either"}}}
	byVersion := object(map[string]*schema{
		"versions": someOf(versions...).describe("The versions that it holds for."),
		"ports":    listOf(portNumberSchema()).describe("The server's ports that it holds for."),
		"roles":    someOf(roleList(ofServer)...).describe("The roles that are proven."),
	}, "roles")
	s := object(map[string]*schema{
		"id":             anyText().describe("A stable name."),
		"roles":          someOf(roleList(ofServer)...).describe("The role that is proven, or the alternatives."),
		"by_version":     listOf(byVersion).describe("Roles for some versions and ports."),
		"end":            oneOf(endWords...).describe("The end of the flow that is proven, or the host that it names."),
		"any":            notEmpty(listOf(match)).describe("The matches of which one suffices."),
		"weak":           flagSchema().describe("It counts only for a host of which nothing else is known."),
		"peer":           someOf(roleList(ofServer)...).describe("The roles of which the other end of the flow must be proven to have one."),
		"vetoes":         flagSchema().describe("The host is no Exchange server, whatever else it shows."),
		"version":        oneOf(versions...).describe("The Exchange version that is proven along with it."),
		"versions":       someOf(versions...).describe("The versions that can show it."),
		"build":          anyText().describe("The fact that holds the build number."),
		"proves_version": flagSchema().describe("What shows it also has one of its versions."),
		"pending":        anyText().describe("Why nothing proves it yet."),
		"what":           anyText().describe("The evidence in words."),
		"fooled_by":      anyText().describe("What else shows the same."),
		"note":           anyText().describe("A comment."),
		"source":         anyText().describe("The documents."),
		"confidence":     confidenceSchema(),
	}, "end", "source")
	s.AnyOf = []*schema{{Required: []string{"note"}}, {Required: []string{"what"}}}
	if proves {
		s.Properties["vetoes"].Enum = []any{false}
		s.AllOf = []*schema{
			{AnyOf: []*schema{{Required: []string{"any"}}, {Required: []string{"pending"}}}},
			{AnyOf: []*schema{{Required: []string{"roles"}}, {Required: []string{"build"}}, {Required: []string{"proves_version"}}}},
		}
	}
	return s
}

func policySchema() *schema {
	grade := object(map[string]*schema{
		"versions": someOf(versions...).describe("The versions that it holds for; all others if left out."),
		"level":    oneOf(levelWords...).describe("How grave it is."),
		"rule":     anyText().describe("The id of the row that forbids the mechanism."),
		"note":     anyText().describe("An explanation."),
		"source":   anyText().describe("The document."),
	}, "level", "source")
	weakness := object(map[string]*schema{
		"id":         anyText().describe("A stable short name."),
		"finding":    anyText().describe("The id of the finding."),
		"fact":       anyText().describe("The attribute that shows it."),
		"values":     textOrList().describe("Patterns of which one must fit."),
		"text":       anyText().describe("The words of the finding; {value} stands for what was seen."),
		"encryption": oneOf(encryptionWords...).describe("Only rows that document this word of encryption."),
		"grades":     listOf(grade).describe("How grave it is, by version."),
	}, "id", "finding", "fact", "values", "text", "grades")
	unfiltered := object(map[string]*schema{
		"versions": someOf(versions...).describe("The versions."),
		"servers":  someOf(roleList(ofServer)...).describe("Roles of the servers among which nothing is filtered."),
		"peers":    someOf(roleList(ofServer)...).describe("Roles of others to which nothing is filtered either."),
		"text":     anyText().describe("The statement, in words."),
		"source":   anyText().describe("The document."),
	}, "versions", "servers", "peers", "text", "source")
	announced := object(map[string]*schema{
		"by":       textOrList().describe("The ways in which an endpoint is announced."),
		"protocol": anyText().describe("The protocol that it speaks."),
	}, "by", "protocol")
	return object(map[string]*schema{
		"exchange_roles": someOf(roleList(ofServer)...).describe("Roles that only an Exchange server has."),
		"alone":          someOf(roleList(ofServer)...).describe("Roles that a server has instead of any other role of Exchange servers."),
		"answering":      textOrList().describe("Protocols whose server answers every request."),
		"beginnings":     textOrList().describe("Protocols that their first bytes show."),
		"movable":        textOrList().describe("Protocols that are known by their content at a port that an administrator chose."),
		"unannounced":    textOrList().describe("Protocols at ports that nothing announces and no observer reads."),
		"announced":      listOf(announced).describe("The protocols of announced endpoints."),
		"unfiltered":     listOf(unfiltered).describe("Traffic that Microsoft does not support to be filtered."),
		"violations":     textOrList().describe("The ids of findings that break a document."),
		"remarks":        textOrList().describe("The ids of findings that break none."),
		"weak":           listOf(weakness).describe("Weak mechanisms."),
	})
}

// itemsOf returns the schema of a pack in which the items of a list have the required
// keys, unless the pack sets defaults for them.
func itemsOf(list string, required ...string) *schema {
	return &schema{Properties: map[string]*schema{list: {Items: &schema{Required: required}}}}
}

func packSchema() *schema {
	iface := object(map[string]*schema{
		"name":       pattern(`[^ *|,A-Z]+`).without("^" + Unnamed + "$").describe("The short name, one word in lower case."),
		"uuid":       pattern(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).describe("The UUID in lower case."),
		"version":    {Type: []string{"string", "number"}, Pattern: `^(\?|[0-9]+\.[0-9]+)(\|(\?|[0-9]+\.[0-9]+))*$`, Description: "major.minor, alternatives, or ? for any."},
		"title":      anyText().describe("What it is."),
		"service":    anyText().describe("Who serves it."),
		"use":        anyText().describe("What a call of it means."),
		"source":     anyText().describe("The document."),
		"confidence": confidenceSchema(),
	}, "name", "uuid", "version", "title")
	local := object(map[string]*schema{
		"port": pattern(rangeRE + "|" + ipRE).describe("The port."), "note": anyText().describe("What it is for."), "source": anyText().describe("The document."),
	}, "port", "note", "source")
	absent := object(map[string]*schema{
		"id":       pattern(`not\..*`).describe("The id, which begins with not."),
		"versions": someOf(versions...).describe("The versions that must not have it."),
		"only":     oneOf("2000").describe("The only version that must not have it, of those that share a pack."),
		"what":     anyText().describe("What it is."),
		"from":     someOf(roleList(ofServer)...).describe("Roles of the client."),
		"to":       someOf(roleList(ofServer)...).describe("Roles of the server."),
		"legs":     legsSchema(), "weakness": anyText().describe("The weakness of the policy that grades it."),
		"http_methods": alternatives().describe("Methods of HTTP requests."),
		"note":         anyText().describe("A comment."), "source": sourceSchema(), "confidence": confidenceSchema(),
	}, "id", "versions", "what", "from")
	build := object(map[string]*schema{
		"build":   {Type: []string{"string", "number"}, Pattern: `^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){1,3}(\.\*)?$`, Description: "The build number, or its beginning with .*"},
		"version": oneOf(buildVersions...).describe("The version."),
		"name":    anyText().describe("The product with its update."),
		"date":    anyText().describe("The day of the release."), "long": anyText().describe("The zero-padded number."),
		"note": anyText().describe("A comment."), "source": sourceSchema(), "confidence": confidenceSchema(),
	}, "build", "version", "name")
	groupLegs := &schema{
		AnyOf:       []*schema{pattern(legRE()), {Type: "array", Items: pattern(legRE()), MinItems: 1, UniqueItems: true}},
		Description: "Legs that are in the group in every row.",
	}
	group := object(map[string]*schema{
		"id": anyText().describe("The group's id."), "name": anyText().describe("The group's name for people."), "legs": groupLegs,
	}, "id", "name")
	s := object(map[string]*schema{
		"version":     oneOf(packVersions...).describe("The Exchange version of the paths, or windows."),
		"confidence":  confidenceSchema().describe("The confidence of all rows that have none."),
		"source":      sourceSchema().describe("The documents of all rows that have none."),
		"extends":     anyText().describe("The pack whose paths and groups are taken over."),
		"ends":        {Type: "object", Names: oneOf(roleList(ofServer)...), Additional: someOf(roleList(ofServer)...), Description: "What stands for roles of the pack that is extended."},
		"append":      object(map[string]*schema{"note": anyText().describe("Added to notes."), "source": anyText().describe("Added to documents."), "confidence": confidenceSchema()}).describe("What is added to the paths taken over."),
		"without":     textOrList().describe("Ids of paths that are left out."),
		"documents":   mapping(anyText()).describe("Short keys for documents."),
		"groups":      listOf(group).describe("Names of groups of rows that no packet can tell apart."),
		"leg_sets":    mapping(legsSchema()).describe("Lists of legs that paths name."),
		"paths":       listOf(pathSchema()).describe("The data paths."),
		"interfaces":  listOf(iface).describe("RPC interfaces."),
		"evidence":    listOf(evidenceSchema(true)).describe("What proves roles."),
		"no_evidence": listOf(evidenceSchema(false)).describe("What looks like a proof and is none."),
		"local_only":  listOf(local).describe("Ports for the host itself alone."),
		"absent":      listOf(absent).describe("What some versions must not have."),
		"builds":      listOf(build).describe("Build numbers."),
		"pinned":      listOf(pinnedSchema()).describe("Services whose ports can be pinned."),
		"policy":      policySchema().describe("What is weak, and how grave that is."),
	})
	s.Title = "exspan pack of rules"
	s.Description = "Documented data paths of Exchange, and what exspan knows beside them."
	s.Dependencies = map[string][]string{"paths": {"version"}, "ends": {"extends"}, "append": {"extends"}, "without": {"extends"}}
	extends, source, confidence := &schema{Required: []string{"extends"}}, &schema{Required: []string{"source"}}, &schema{Required: []string{"confidence"}}
	s.AllOf = []*schema{
		{If: extends, Else: itemsOf("paths", "id", "name", "from", "to", "legs")},
		{If: &schema{AnyOf: []*schema{extends, source}}, Else: itemsOf("paths", "source")},
		{If: &schema{AnyOf: []*schema{extends, confidence}}, Else: itemsOf("paths", "confidence")},
		{If: confidence, Else: itemsOf("interfaces", "confidence")},
	}
	for _, list := range []string{"interfaces", "builds", "pinned", "absent"} {
		s.AllOf = append(s.AllOf, &schema{If: source, Else: itemsOf(list, "source")})
	}
	return s
}

func pinnedSchema() *schema {
	return object(map[string]*schema{
		"versions":   someOf(buildVersions...).describe("The versions."),
		"service":    anyText().describe("The service."),
		"interfaces": alternatives().describe("The RPC interfaces or protocols that move with it."),
		"default":    anyText().describe("The port without pinning."),
		"by":         anyText().describe("The means of pinning."),
		"where":      anyText().describe("The place of the setting."),
		"value":      anyText().describe("The name of the setting."),
		"type":       anyText().describe("The type of the setting."),
		"range":      anyText().describe("The range that the documents recommend."),
		"since":      anyText().describe("The first version or update with the setting."),
		"restart":    anyText().describe("What has to be restarted."),
		"site":       flagSchema().describe("The site file's static_ports may name the interfaces."),
		"note":       anyText().describe("A comment."),
		"source":     sourceSchema(),
		"confidence": confidenceSchema(),
	}, "versions", "service")
}
