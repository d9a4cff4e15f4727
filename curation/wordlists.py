"""Common words of English, Malay and romanised Tamil, as people spell them in posts: evidence for `curation.language`.

They are counted, not looked up: a list need not be complete, but a word in it should belong to no other language here.
"""

COMMON = {
    "en": """
        a about above across actually after again against ago all almost alone along already also although
        always am among an and annoying another any anybody anyone anything anyway are aren't around as ask
        asked at away back bad be because been before behind being believe best better between big both boring
        bought break bring broken brought but buy by call came can can't cannot care change check class clean
        close cold come comes coming condition could couldn't day days did didn't different do does doesn't
        doing don't done down drive during each early easy eat either else end enough even ever every
        everybody everyone everything except excited expensive family fast feel feeling few finally find fine
        first food for forever forget forgot found free friend friends from full fun funny gave get gets
        getting girl give gives giving go goes going gone gonna good got great group guy guys had half
        happened happens happy hard has hate have haven't having he he's hear heard help her here hers herself
        him himself his hit holiday home hope hot hour hours house how however hurt i i'd i'll i'm i've if
        important in inside instead interested into is isn't it it's item items its itself job just keep kids
        kind knew know known knows large last late later laugh learn least leave left less let let's life like
        line listen little live long look looking looks lost lot lots love lucky lunch made make makes making
        many matter maybe me mean means meet message might mine minutes miss money month months more morning
        most move movie much must my myself need needed needs never new next nice night no nobody none not
        nothing now of off office often oh old on once one only open or order other others our out outside
        over own paid part pay pays people perfect phone place play please point pretty price probably problem
        put queue quick quite ran rather read ready real really reason remember rest right room run sad said
        same saw say saying says school see seem seen sell selling send sent she she's should shouldn't show
        sick since sleep slow small so some somebody someone something sometimes soon sorry start started stay
        still stop story stuff stupid such sure take takes taking talk teacher tell than thank thanks that
        that's the their them themselves then there there's these they they're thing things think this those
        though thought through till time times tired to today together told tomorrow tonight too took train
        tried true try trying turn two ugly under until up upon us use used using usually very wait waiting
        walk want wanted wants was wasn't waste watch water way we we're weather week weekend well went were
        weren't what what's whatever when where whether which while who whoever whole whose why wife will wish
        with without woman women won't word words work working works world worry worse worst worth would
        wouldn't write wrong year years yes yesterday yet you you'd you'll you're you've young your yours
        yourself yourselves
    """,
    "ms": """
        abang abis ada adakah adalah adik agaknya agar ajak ajar akan akhirnya akibat aku alam alhamdulillah
        ambil ambik anak anda antara apa apabila apakah asal asyik atas atau awak awal awek ayah ayat badan
        bagai bagaimana bagi bagus bahagia bahasa bahawa baik baju baki balik banding bangun bantu bantuan
        banyak bapa barangan baru basuh batuk bawa bawah bayar bayaran bayi bazir beberapa beg begini begitu
        bekas bekerja belajar belakang beli belum benar benci benda beranak berada beratur berbanding berbual
        berbuka bercakap bercuti berdiri berehat berhenti beri berita berjalan berjaya berkata berkualiti
        berkumpul berlaku bermain bersama bersih bersyukur berubah besar betul bila bilik bini bising boleh
        bongkar bosan buah buang buat budak buka bukak bukan bulan bunuh cakap cantik cara cari celaka cepat
        cerita cina cikgu comel contoh cuaca cuba cuci cuma cuti dah dahaga dahulu daki dalam dapat dapur dari
        daripada datang demam dengan dengar depa depan di dia diam dibuat dijual dikatakan diorang diri
        disebabkan dorang dua duduk duit dulu dunia elok emak empat encik engkau entah esok faham gaji gambar
        gembira geram gerai gila guna habis hampir hancur hantar hanya harap harga hari harus hati hendak
        hensem hidup hilang hingga hitam hujan hutang ialah iaitu ibu ikan ikhlas ikut indah ingat ingin ini
        isteri itu jadi jaga jahat jalan jam jangan janji jarang jauh jawab je jelas jemput jenama jika jimat
        jom jual jugak juga jumpa kadang kahwin kain kakak kaki kali kalau kalo kami kampung kamu kan kanak
        kandungan kasi kasih kasut kata kau kaum kawan kaya kebun kecewa kecik kecil kedai kejap kelakar kelas
        kelihatan keluar keluarga kemudian kena kenapa kepada kepala kerana kereta keretapi kerja keseluruhan
        ketika khabar kira kita kitorang korang kosong kot kuat kucing kuliah kurang laki lagi lagu lah lain
        laju laku lama lambat langsung lapar lebih lelaki lemah lepas lepak letak letih lewat lihat lima luar
        lupa macam mahal mahu maka makan makanan makcik mak maklumat malam malas malu mampu mana mandi manusia
        marah mari masa masak masalah masih masin masuk mata mati mau mcm melainkan melalui melayu melihat
        memang membantu membeli membuat memberi memerlukan menang menangis menarik mencari mendapat mengapa
        mengenai menghantar menggunakan menjadi menjual menteri menunggu menyokong merah mereka merupakan
        mesti mesyuarat mewah minta mintak minum minggu minit mohon muda mudah muka mula mulut murah muzik nak
        naik nama namun nampak nanti nasib nasi negara ngan ni nih nombor nyaman nyata orang org otak pada
        padahal padam pagi paham pakai pakaian pakcik paling panas pandang panggil panjang pasal pasang pastu
        pasti payah pejabat pelajar peluang penat pendek penduduk pening penuh peraturan percaya percuma
        perempuan pergi perkara perlahan perlu pernah perut petang pilih pinjam pintu pokok pon pukul pula
        pulak pulang puasa pun punca punya puteri putih rajin rakan rakyat ramai rambut rasa rasanya ribu
        ringan ringgit rosak rumah runsing sabar sahaja saing saja sakit salah sambil sambung sampah sampai
        samseng sana sangat sanggup sape sapa satu saya sayur sebab sebabkan sebagai sebelah sebelum sebenar
        sebenarnya sebuah sedang sedap sedar sedih sedikit seekor segala sehari sejuk sekali sekarang sekejap
        sekolah selalu selama selamat selepas selesa semalam semasa sembang semua semula senang sendiri senyum
        seorang sepak seperti serabut seronok sesak sesiapa sesuai sesuatu setakat setelah setiap sewa siang
        siap siapa sihat sikit sila silap sini situ sket sokong solat suami suara sudah sukar suruh susah
        syarikat syok tadi tahu tahun tak takde takkan takut taman tambah tangan tandas tangga tanpa tanya
        tapi tau tayar tegur telah telefon teman tempat tengah tengok tengokkan tentang tepi terima terkejut
        terlalu termasuk terpaksa tersebut terus teruk tetap tetapi tidak tidur tiga tiba tinggal tinggi tipu
        toksah tu tua tuan tuhan tujuan tukar tulis tunggu turun tutup ubat ujian umur untuk untung urusan utk
        walau walaupun wang wanita xde yang yg zaman weh kat dgn dlm sbb skrg jgn blh klu lps mmg bgtau tggu
        kpd drpd cukai undang sawah kelapa ayam telur gula garam sayang cinta rindu kekasih baca buku bacaan
        hodoh gemuk kurus bodoh bangang bengap sial bakar kertas kempen gereja bos kebersihan cukur basikal
        kerusi meja katil almari periuk pinggan cawan pisau tingkap kipas lampu rak cermin tikar bantal
        selimut langsir terpakai calar runding penghantaran resit jaminan berfungsi simpan kotak lengkap
        masjid surau kuil negeri agama bangsa puak pendatang hantu lembu khinzir babi anjing kafir haram halal
        sombong pemalas pengotor busuk cerah jantan pondan betina bapak jiran taska ustaz ustazah universiti
        asrama peperiksaan markah runcit mamak canai kuih pisang goreng sambal pedas manis masam pahit lemang
        ketupat rendang ulam sawi bayam tempe isnin selasa rabu khamis jumaat sabtu ahad januari februari
        julai ogos oktober disember bibik hidang dewan padan taip sami
    """,
    "ta": """
        aachi aagum aaguthu aana aanaa aasai aduthu adhaan adhan adhe adhu adhukku adichu adikkadi adikku
        alaga alagu amaam anga angalum anniku aparam aprom appadi appadiye appo appuram apram arumai athaan
        athan athe athu athuku avalo avaloda avalukku avan avana avanga avangala avanukku avaru aven avlo
        azhaga azhagu bayama bayangara chinna cinemala dhan dhaan dhinam edhuvum edhu edukka eduthu eduththu
        ellaam ellam ellame ellarum ellorum ellarukkum enaku enakku enakkum endha endru enga engalukku engayo
        engeyo enn enna ennada ennadi ennaiya ennala ennama enni ennikku enniku ennoda eppa eppadi eppavum
        eppo eppoda eppothum epo epdi erikka erukku ethu ethuku ethukku evan evlo evlow idha idhai idhan idhe
        idhellam idhu idhukku idhula illa illada illai illama illana illanu illaya illaye ille inda indha
        indraiku inga inge ingaye innaiku innaikku inni inniku innikku innoru innum intha ipdi ippa ippadi
        ippo ippothu iruka irukaanga irukalam irukan irukanga irukaru iruken irukinga irukiya irukka
        irukkaanga irukkanga irukkiya irukken irukkinga irukku irukkum irukkunga irukra iruku irukum irundha
        irundhaa irundhalum irundhu irundhuchu iruntha irunthu iruthuchu ithaan ithan ithe ithu ithuku ivan
        ivanga ivanunga ivlo kaalaila kaasu kadaila kadai kadaikku kalakura kalyanam kandippa kanna kannu
        kasta kastam kashtama kashtam kashtapattu kathai keka kekka kelu kelunga ketta kettu kidaikum
        kidaikkum kidaikala kitta koduma kodumai konja konjam konjama kooda koodathu koopadu kudukka kudutha
        kuduthu kudu kudunga kovam kuda kudikka maapla maaplai maari maathi maattan maatten maattanga mathiri
        madhiri mari mattum mattumthan matum mela melam mokka mokkai mudiyala mudiyadhu mudiyathu mudiyum
        mudinja mudinjadhu mudinju munnadi naal naala naalaiku naalaikku naan naanga naane naanum nadakkum
        nadakuthu nadanthu nadikkira nalla nallaa nallathu nallavan namba nambala nambathinga namma nammala
        nammalukku nanba nanbargale nandri nanga nanri naaku neram neenga neengal neeum neeyum nenachen
        nenaikiren nenaikuren nenachu nenga nethu netru nijama nijamave niraiya nirandharam ninaikiren ninga
        ninja odane odanum onnu onnum onum oru orutha oruthan oruthar oruvar paakka paaka paakala paarkka
        paaru paarunga paathen paathu paathutu paattu padam padatha padathula padikanum padikka padichu paiyan
        palaya pana panam panna pannala pannalam pannama pannanum panni pannina pannitu pannitan pannitanga
        panniten pannu pannum pannunga pannuna pannura pannuran pannuranga pannuraanga pannuren pannuvanga
        pannuvan panra panran panranga panren paravala paravalla patha pathi pathu pathutu paththi patti
        pazhaya periya perusu pesa pesanum pesi pesra pesura pesuranga pinnadi pochu poda podanum podhum podi
        podu podunga poga poganum pogala pogathu pogathinga poi poidu poitan poitanga poitu poiten ponga ponnu
        ponnunga poo poona poorom poradhu porathu poren potta pottu pothum puriyala puriyuthu puriyum purinju
        purinjuthu pudhusa puthu pudikkum pudichiruku pudikum pudikala pudikkala romba rombha rombo rendu
        saapadu saapida saapudu saapta saaptacha saapten saaptiya sapadu sapdu sapta saptacha saptaachu
        saptiya sapteengala samaikka sariya sari seekiram sikiram seekram semma semmaya semaya serndhu seri
        seriyana seriya seyal solla sollala sollu sollunga solra solran solranga solren soltu sonna sonnan
        sonnanga sonnen sonnaru soru summa summave sutti thaan thala thalaiva thalaivar thambi thangachi
        thanda thaniya thanni thappu thappa theriala theriyala theriyadhu theriyathu theriyum theriyuma therla
        therila therinja therinjathu thirumba thiruppi thookam thoongu thoonganum tholla thollai udambu ulla
        ullara unakku unaku ungal ungalukku ungaluku unga unnoda unoda unna unnai unmai unmaiya unmaiyana vaa
        vaada vaangi vaangu vaanga vachi vachu vandha vandhachu vandhan vandhanga vandhen vandhu vandhuchu
        vandhudu vandi vangi vanga vanganum vanguna vantha vanthu vanthuchu vanthan vanthanga varaanga vara
        varala varanga varapora vareengala varen vari varum varuma varuthu varudhu varuvan vayasu nee yeppavum
        seruppadi vechu vecha veetla veetula veedu veetuku veliya velai velaiku velaikku vella vendaam vendam
        vendiyathu venum venuma vera vetti vidu vidunga viduda vittu vitta vilai yaaru yaarum yaar yaaro
        yaarukum yaarukku yaarukaga yaru yarum yean yeppa yeppadi yeppo yenna yevlo yov yaen sothu soodu sema
        aachu achu aagala aagathu agala agatha aayiduchu ayiduchu aiduchu poiduchu vandhiduchu aagiduchu
        mudinjiduchu mazhai veyil kolaru kovil kovilku pasikuthu pasikudhu pasi thookama kozhapam kulappam
        paavam pavam loosu lusu nadakka
    """,
}

# Words that Singlish, rojak and Tanglish pass around, or that mean something in two of the languages: they excuse,
# they never accuse.
SHARED = {
    "en": """
        makan boleh kena lah leh lor alamak gila tahan agak barang bodoh botak suka sayang rojak jalan kampung
        mana saman tolong jaga sial lepak kopi teh tapau malu mati habis mari makcik pakcik abang kakak balik
        pandai pasar malam gerai kan tak nasi ayam ikan telur syok shiok sama potong kacang lagi apa satu dua
        tiga kira tipu lari ada mak mata pukul amma appa anna akka thambi machan machi macha dei aiyo da di
        poda podi kaki kat padam org bini selamat hari raya puasa alhamdulillah ayah sini sana susah kau awak
        awek beg laki sari vari pasi velai unmai ulla unga enni inda vella mela pathi patha anga inga thala
        vera jam kaya lima seri kuda panjang merah taman putih puteri baju sambal rendang kuih ketupat mamak
        sate halal haram surau babi hantu pisang goreng canai ustaz cikgu bos kuil
    """,
    "ms": """
        lah weh bro sis boss geng gila best member saman diam kan je ke pun lepak okay boleh kot doh siot sial
        wei woi alamak terer cun poyo cool sound steady line handphone handset on off post ia
    """,
    "ta": """
        da di dei dai bro machan machi macha machaa mama anna akka amma appa aiyo aiyoo ayyo thala mass super
        semma dhool sir thalaiva pa ma ah la ya yaar ku ra
    """,
}
