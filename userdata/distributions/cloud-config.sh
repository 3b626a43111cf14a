# Any of the systems that have a file of their own here.
SYSTEMS='amzn rhel centos rocky almalinux ol debian ubuntu sles sles_sap opensuse-leap suse'
LINKS=/usr/local/bin
install_python() {
    case $ID:$VERSION_ID in
    debian:*) with_apt python3 ;;
    ubuntu:22.04) with_apt python3.11 ;;
    ubuntu:*) with_apt python3 ;;
    sles*:* | opensuse*:* | suse:*) with_zypper python313 python312 python311 ;;
    *) LINKS=/usr/bin && with_dnf python3.12 python3.11 python3 ;;
    esac
}
