package etw

import "fmt"

// reasons maps the values of PKTMON_DROP_REASON to the names that pktmon prints. They are
// from Microsoft's documentation of its packet monitor and agree with the list in its
// retina.
var reasons = map[uint32]string{
	0: "Unknown", 1: "InvalidData", 2: "InvalidPacket", 3: "Resources", 4: "NotReady", 5: "Disconnected",
	6: "NotAccepted", 7: "Busy", 8: "Filtered", 9: "FilteredVLAN", 10: "UnauthorizedVLAN", 11: "UnauthorizedMAC",
	12: "FailedSecurityPolicy", 13: "FailedPvlanSetting", 14: "Qos", 15: "Ipsec", 16: "MacSpoofing", 17: "DhcpGuard",
	18: "RouterGuard", 19: "BridgeReserved", 20: "VirtualSubnetId", 21: "RequiredExtensionMissing", 22: "InvalidConfig",
	23: "MTUMismatch", 24: "NativeFwdingReq", 25: "InvalidVlanFormat", 26: "InvalidDestMac", 27: "InvalidSourceMac",
	28: "InvalidFirstNBTooSmall", 29: "Wnv", 30: "StormLimit", 31: "InjectedIcmp", 32: "FailedDestinationListUpdate",
	33: "NicDisabled", 34: "FailedPacketFilter", 35: "SwitchDataFlowDisabled", 36: "FilteredIsolationUntagged",
	37: "InvalidPDQueue", 38: "LowPower",
	201: "Pause", 202: "Reset", 203: "SendAborted", 204: "ProtocolNotBound",
	401: "MicroportError", 402: "VfNotReady", 403: "MicroportNotReady", 404: "VMBusError",
	601: "FL_LoopbackPacket", 602: "FL_InvalidSnapHeader", 603: "FL_InvalidEthernetType", 604: "FL_InvalidPacketLength",
	605: "FL_HeaderNotContiguous", 606: "FL_InvalidDestinationType", 607: "FL_InterfaceNotReady", 608: "FL_ProviderNotReady",
	609: "FL_InvalidLsoInfo", 610: "FL_InvalidUsoInfo", 611: "FL_InvalidMedium", 612: "FL_InvalidArpHeader", 613: "FL_NoClientInterface",
	701: "ArpGuard", 702: "ArpLimiter", 703: "DhcpLimiter", 704: "BlockBroadcast", 705: "BlockNonIp", 706: "ArpFilter",
	707: "Ipv4Guard", 708: "Ipv6Guard", 709: "MacGuard", 710: "BroadcastNoDestinations", 711: "UnicastNoDestination",
	712: "UnicastPortNotReady", 713: "SwitchCallbackFailed", 714: "Icmpv6Limiter", 715: "Intercept", 716: "InterceptBlock",
	717: "NDPGuard", 718: "PortBlocked", 719: "NicSuspended",
	801: "Http_ReceiveSuppressed",
	901: "NL_BadSourceAddress", 902: "NL_NotLocallyDestined", 903: "NL_ProtocolUnreachable", 904: "NL_PortUnreachable",
	905: "NL_BadLength", 906: "NL_MalformedHeader", 907: "NL_NoRoute", 908: "NL_BeyondScope", 909: "NL_InspectionDrop",
	910: "NL_TooManyDecapsulations", 911: "NL_AdministrativelyProhibited", 912: "NL_BadChecksum", 913: "NL_ReceivePathMax",
	914: "NL_HopLimitExceeded", 915: "NL_AddressUnreachable", 916: "NL_RscPacket", 917: "NL_ForwardPathMax",
	918: "NL_ArbitrationUnhandled", 919: "NL_InspectionAbsorb", 920: "NL_DontFragmentMtuExceeded", 921: "NL_BufferLengthExceeded",
	922: "NL_AddressResolutionTimeout", 923: "NL_AddressResolutionFailure", 924: "NL_IpsecFailure", 925: "NL_ExtensionHeadersFailure",
	926: "NL_IpsnpiClientDrop", 927: "NL_UnsupportedOffload", 928: "NL_RoutingFailure", 929: "NL_AncillaryDataFailure",
	930: "NL_RawDataFailure", 931: "NL_SessionStateFailure", 932: "NL_IpsnpiModifiedButNotForwarded", 933: "NL_IpsnpiNoNextHop",
	937: "NL_IpsnpiInterfaceDisabled", 944: "NL_InternalError", 945: "NL_AdministrativelyConfigured", 946: "NL_BadOption",
	947: "NL_LoopbackDisallowed", 948: "NL_SmallerScope", 949: "NL_QueueFull", 950: "NL_InterfaceDisabled",
	951: "NL_IcmpGeneric", 953: "NL_IcmpInvalidChecksum", 954: "NL_IcmpInspection", 979: "NL_IcmpDisallowed", 996: "NL_NlClientDiscard",
	1200: "INET_SourceUnspecified", 1201: "INET_DestinationMulticast", 1202: "INET_HeaderInvalid", 1203: "INET_ChecksumInvalid",
	1204: "INET_EndpointNotFound", 1205: "INET_ConnectedPath", 1206: "INET_SessionState", 1207: "INET_ReceiveInspection",
	1208: "INET_AckInvalid", 1209: "INET_ExpectedSyn", 1210: "INET_Rst", 1211: "INET_SynRcvdSyn", 1212: "INET_SimultaneousConnect",
	1213: "INET_PawsFailed", 1214: "INET_LandAttack", 1215: "INET_MissedReset", 1216: "INET_OutsideWindow", 1217: "INET_DuplicateSegment",
	1218: "INET_ClosedWindow", 1219: "INET_TcbRemoved", 1220: "INET_FinWait2", 1221: "INET_ReassemblyConflict", 1222: "INET_FinReceived",
	1223: "INET_ListenerInvalidFlags", 1224: "INET_TcbNotInTcbTable", 1225: "INET_TimeWaitTcbReceivedRstOutsideWindow",
	1226: "INET_TimeWaitTcbSynAndOtherFlags", 1227: "INET_TimeWaitTcb", 1228: "INET_SynAckWithFastopenCookieRequest",
	1229: "INET_PauseAccept", 1230: "INET_SynAttack", 1231: "INET_AcceptInspection", 1232: "INET_AcceptRedirection",
	1401: "Ipsec_BadSpi", 1402: "Ipsec_SALifetimeExpired", 1403: "Ipsec_WrongSA", 1404: "Ipsec_ReplayCheckFailed",
	1405: "Ipsec_InvalidPacket", 1406: "Ipsec_IntegrityCheckFailed", 1407: "Ipsec_ClearTextDrop", 1408: "Ipsec_AuthFirewallDrop",
	1409: "Ipsec_ThrottleDrop", 1410: "Ipsec_Dosp_Block",
}

// Reason returns the name of a value of PKTMON_DROP_REASON.
func Reason(n uint32) string {
	if s, ok := reasons[n]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", n)
}

// Forbids reports whether a value of PKTMON_DROP_REASON means that a filter or a policy
// forbade the packet. This is inferred from the names; Microsoft does not explain them.
func Forbids(n uint32) bool {
	switch n {
	case 8, 9, 10, 11, 12, 13, 34, 36, 716, 718, 911, 945, 1407:
		return true
	}
	return inspected(n)
}

// inspected reports whether a value means the Windows Filtering Platform, which the
// Windows firewall and others use.
func inspected(n uint32) bool {
	switch n {
	case 909, 919, 954, 1207, 1231, 1408:
		return true
	}
	return false
}

// Dropper describes what drops packets for a reason.
func Dropper(n uint32) string {
	switch {
	case inspected(n):
		return "the Windows firewall or another filter of its platform"
	case Forbids(n):
		return "a filter of Windows"
	}
	return "Windows"
}
