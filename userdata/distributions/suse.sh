# SUSE Linux Enterprise Server 15 (with its Python 3 module) and openSUSE Leap: python3 is 3.6, later ones lie beside it.
SYSTEMS='sles sles_sap opensuse-leap suse'
LINKS=/usr/local/bin
install_python() { with_zypper python313 python312 python311; }
